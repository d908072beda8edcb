"""Trains YOLO11n-seg in stages: most epochs on small pictures, which are quick, and the last on larger ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.compute.quiet_ultralytics import load_yolo, quiet_ultralytics
from backend.storage.atomic_files import write_atomically
from training.dataset.build import Dataset
from training.finetuning.half_precision import computes_in_bfloat16, use_bfloat16

BATCH = 16
# Ultralytics validates on the held-out pictures: often enough for a curve.
VALIDATE_EVERY = 10


@dataclass(frozen=True)
class Stage:
    """A part of the training, which starts from the weights of the one before.

    Attributes:
        side_px: the pictures' longer side.
        learning_rate: the highest; it falls to a hundredth along half a cosine.
    """

    side_px: int
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to: losses, and mask metrics in `[0, 1]` where it was validated."""

    stage: Stage
    number: int
    losses: dict[str, float]
    metrics: dict[str, float]


def train_stages(
    dataset: Dataset,
    stages: Sequence[Stage],
    *,
    initial: str,
    folder: Path,
    report: Callable[[Epoch], object],
) -> Path:
    """Trains all stages in `folder`, and returns the `.pt` file of the last epoch's averaged weights.

    A stage of the same training whose result lies there is not trained again; one that was stopped begins anew.

    Args:
        initial: weights to start from, or Ultralytics' YAML file for random ones.
    """
    identity = json.dumps([dataset.manifest.digest, [asdict(stage) for stage in stages], initial])
    record = folder / "training.json"
    if not record.is_file() or record.read_text() != identity:
        for old in folder.glob("stage-*.pt"):
            old.unlink()
        write_atomically(record, identity)
    weights = Path(initial)
    for number, stage in enumerate(stages, start=1):
        result = folder / f"stage-{number}.pt"
        if not result.is_file():
            _train(dataset, stage, str(weights), folder / f"stage-{number}", report)
            quiet_ultralytics().utils.torch_utils.strip_optimizer(
                str(folder / f"stage-{number}" / "weights" / "last.pt"), str(result)
            )
        weights = result
    return weights


def _train(dataset: Dataset, stage: Stage, initial: str, folder: Path, report: Callable[[Epoch], object]) -> None:
    model = load_yolo(initial)
    for event, callback in _callbacks(stage, report):
        model.add_callback(event, callback)
    model.train(
        data=str(dataset.data_yaml),
        epochs=stage.epochs,
        imgsz=stage.side_px,
        batch=BATCH,
        nbs=BATCH,
        device="cpu",
        project=str(folder.parent.resolve()),
        name=folder.name,
        exist_ok=True,
        # Otherwise Ultralytics keeps the architecture alone, and starts from random weights.
        pretrained=initial.endswith(".pt"),
        amp=False,
        plots=False,
        verbose=False,
        cache="ram",
        seed=0,
        workers=0,
        patience=0,
        optimizer="AdamW",
        lr0=stage.learning_rate,
        lrf=0.01,
        cos_lr=True,
        momentum=0.9,
        weight_decay=0.01,
        warmup_epochs=2,
        warmup_bias_lr=0.0,
        # Few photographs have to do: each is seen at another scale, beside others, with garments of others.
        mosaic=1.0,
        close_mosaic=max(1, stage.epochs // 6),
        copy_paste=0.3,
        copy_paste_mode="mixup",
        scale=0.5,
        degrees=5.0,
        overlap_mask=False,
    )


def _callbacks(stage: Stage, report: Callable[[Epoch], object]) -> Iterator[tuple[str, Callable[[Any], None]]]:
    def before_epoch(trainer: Any) -> None:
        trainer.args.val = (trainer.epoch + 1) % VALIDATE_EVERY == 0

    def after_epoch(trainer: Any) -> None:
        losses = trainer.label_loss_items(trainer.tloss)
        metrics = (trainer.metrics or {}) if trainer.args.val else {}
        report(
            Epoch(
                stage,
                trainer.epoch + 1,
                {name.removeprefix("train/"): round(float(value), 4) for name, value in losses.items()},
                {name[8:-3]: round(float(value), 4) for name, value in metrics.items() if name.endswith("(M)")},
            )
        )

    yield "on_train_epoch_start", before_epoch
    yield "on_model_save", after_epoch
    if computes_in_bfloat16():
        yield "on_train_start", use_bfloat16
