"""Fine-tunes YOLO11-seg on a data set, and tells how far it is."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from backend.devices import pick_device
from backend.errors import ModelError
from backend.settings import Settings
from backend.ultralytics_quiet import quiet_ultralytics
from training.dataset import Dataset

logger = logging.getLogger(__name__)

RANDOM_WEIGHTS = "yolo11n-seg.yaml"
METRICS = {
    "metrics/mAP50(M)": "mask_map50",
    "metrics/mAP50-95(M)": "mask_map50_95",
    "metrics/mAP50(B)": "box_map50",
}


@dataclass(frozen=True)
class Progress:
    """How far a training is: epochs done of all, mean losses, mask mAP so far, seconds left at this pace."""

    epoch: int
    epochs: int
    losses: dict[str, float]
    metrics: dict[str, float]
    seconds_left: float


@dataclass(frozen=True)
class Trained:
    """The result: the weights' path inside the run's folder, and its metrics in `[0, 1]`."""

    weights: Path
    metrics: dict[str, float]


def finetune(
    dataset: Dataset, *, initial: Path | None, image_size_px: int, settings: Settings, folder: Path,
    report: Callable[[Progress], None],
) -> Trained:  # fmt: skip
    """Trains in `folder`, which is emptied first.

    Args:
        initial: weights to start from; None for `BASE_WEIGHTS`, and random ones where those cannot be had.
        report: called after every epoch.

    Raises:
        ModelError: the initial weights do not load, or the training failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model = _load(str(initial) if initial else settings.base_weights, fall_back=initial is None)
    model.add_callback("on_fit_epoch_end", _reporter(report, started=time.monotonic()))
    # Ultralytics' schedule warms up over three epochs at least 100 steps: few images and epochs need less.
    warmup = min(3.0, settings.train_epochs / 4)
    try:
        model.train(
            data=str(dataset.data_yaml), epochs=settings.train_epochs, imgsz=image_size_px, batch=settings.train_batch,
            device=pick_device(settings.device), project=str(folder.resolve()), name="run", exist_ok=True, workers=0,
            warmup_epochs=warmup, plots=False, amp=False, seed=0, deterministic=True, verbose=False, val=True,
        )  # fmt: skip
    except (RuntimeError, ValueError, OSError, FileNotFoundError) as e:
        raise ModelError(f"The training failed: {e}") from e
    best = folder / "run" / "weights" / "best.pt"
    if not best.is_file():
        raise ModelError("The training left no weights.")
    return Trained(weights=best, metrics=_metrics(model.trainer.metrics))


def _load(weights: str, *, fall_back: bool) -> Any:
    yolo = quiet_ultralytics().YOLO
    try:
        return yolo(weights, task="segment")
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError, EOFError, TypeError, UnpicklingError) as e:
        if not fall_back:
            raise ModelError(f"The current model's weights do not load: {e}") from e
        logger.warning(
            "%s cannot be had (%s): training starts from random weights and will need many more labels. "
            "Set BASE_WEIGHTS to a file.", weights, e,
        )  # fmt: skip
        return yolo(RANDOM_WEIGHTS, task="segment")


def _reporter(report: Callable[[Progress], None], *, started: float) -> Callable[[Any], None]:
    def after_epoch(trainer: Any) -> None:
        done = trainer.epoch + 1
        pace_s = (time.monotonic() - started) / done
        losses = trainer.label_loss_items(trainer.tloss, prefix="train") if trainer.tloss is not None else {}
        report(
            Progress(
                epoch=min(done, trainer.epochs),
                epochs=trainer.epochs,
                losses={name.removeprefix("train/"): round(float(value), 4) for name, value in losses.items()},
                metrics=_metrics(trainer.metrics or {}),
                seconds_left=round(max(trainer.epochs - done, 0) * pace_s, 1),
            )
        )

    return after_epoch


def _metrics(raw: dict[str, Any]) -> dict[str, float]:
    return {ours: round(float(raw[theirs]), 4) for theirs, ours in METRICS.items() if theirs in raw}
