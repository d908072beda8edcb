"""Fine-tunes YOLO11-seg on a data set, reports its progress, and resumes a training that was killed."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backend.compute.devices import parse_devices, prepare_device
from backend.compute.quiet_ultralytics import load_yolo, quiet_ultralytics
from backend.detector.starter import STARTER
from backend.errors import ModelError, first_line
from backend.settings import Settings
from backend.storage.atomic_files import copy_atomically, write_atomically
from training.dataset.build import Dataset
from training.finetuning.batch_norm import keep_statistics
from training.finetuning.half_precision import computes_in_bfloat16, use_bfloat16
from training.finetuning.progress import ProgressFile, TrainingProgress
from training.finetuning.ultralytics_args import training_args

logger = logging.getLogger(__name__)

SIZES = ("n", "s", "m", "l", "x")
METRICS = {
    "metrics/mAP50(M)": "mask_map50",
    "metrics/mAP50-95(M)": "mask_map50_95",
    "metrics/mAP50(B)": "box_map50",
}
# The result's file in the folder of a training.
WEIGHTS_FILE = "trained.pt"
# Parts of PyTorch's messages when memory runs out, on a GPU and on a CPU.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        weights: the `.pt` file in the run's folder: the averaged weights (EMA) after the last epoch.
        metrics: that epoch's validation metrics in `[0, 1]`; see `METRICS`.
        architecture: such as `yolo11n-seg`.
        curves: a CSV table of losses and metrics, one row per epoch.
    """

    weights: Path
    metrics: dict[str, float]
    architecture: str
    curves: str


@dataclass(frozen=True)
class _Run:
    """The files of a training: Ultralytics' own, and a copy of its last checkpoint, which is never half written."""

    folder: Path

    @property
    def identity_file(self) -> Path:
        """The file that identifies the training: data set, initial weights and arguments."""
        return self.folder / "run.json"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def last(self) -> Path:
        return self.folder / "last.pt"

    @property
    def weights(self) -> Path:
        """The result: the last checkpoint's averaged weights, without what only a training needs."""
        return self.folder / WEIGHTS_FILE

    @property
    def progress_file(self) -> Path:
        """The file into which a training on several GPUs writes the progress of each epoch."""
        return self.folder / "told.jsonl"

    @property
    def written(self) -> Path:
        """The folder that Ultralytics writes into."""
        return self.folder / "run"

    @property
    def curves(self) -> Path:
        return self.written / "results.csv"

    def prepare(self, facts: dict[str, Any]) -> None:
        """Keeps the folder if it holds the same training, to resume it; otherwise empties it."""
        identity = json.dumps(facts, indent=1, sort_keys=True)
        if self.identity_file.is_file() and self.identity_file.read_text() == identity:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        write_atomically(self.identity_file, identity)

    def restore_checkpoint(self, epochs_done: int) -> None:
        """Resets Ultralytics' files to its last checkpoint: it may have been killed while it wrote more."""
        # Ultralytics evaluates this file at the end, if there is one.
        (self.written / "weights" / "best.pt").unlink(missing_ok=True)
        # Ultralytics writes an epoch's row before its checkpoint, so there may be a row too many.
        if self.curves.is_file():
            rows = self.curves.read_text().splitlines(keepends=True)[: 1 + epochs_done]
            write_atomically(self.curves, "".join(rows))

    def save_checkpoint(self, trainer: Any) -> None:
        """Copies the checkpoint after each epoch."""
        copy_atomically(trainer.last, self.last)


def finetune(
    dataset: Dataset,
    *,
    initial: Path | None,
    image_size_px: int,
    settings: Settings,
    folder: Path,
    report: Callable[[TrainingProgress], None],
) -> Trained:
    """Trains in `folder`; if it holds the same training, which was killed, resumes after its last epoch.

    The result is the last epoch's averaged weights, not the best epoch's: the best of many on the held-out images looks
    better there than it is, and those images also decide on promotion.

    Args:
        initial: weights to start from; None for `YOLO11_BASE`, or the starter if that does not load.
        report: called after every epoch.

    Raises:
        ModelError: the initial weights do not load, `TRAIN_ARGS` is invalid, or the training failed. If the training
            had begun, `folder` is deleted.
    """
    run = _Run(folder)
    start = str(initial) if initial else _base(settings.yolo11_base)
    if initial is None and not _loads(start):
        start = str(STARTER)
    args = training_args(
        settings,
        data=dataset.data_yaml,
        image_size_px=image_size_px,
        folder=run.written,
        drawn=dataset.drawn,
        classes=len(dataset.manifest.classes),
    )
    run.prepare({"dataset": dataset.manifest.digest, "initial": start, "args": args})
    try:
        while not run.result.is_file():
            try:
                _train(run, start, args, settings, report)
            except RuntimeError as e:
                if args["batch"] < 2 * len(parse_devices(settings.device_train)) or not any(
                    message in str(e) for message in OUT_OF_MEMORY
                ):
                    raise
                args["batch"] //= 2
                logger.warning("Out of memory: the training continues with TRAIN_BATCH=%s", args["batch"])
    except ModelError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except (RuntimeError, ValueError, OSError) as e:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelError(f"The training failed: {first_line(e)}") from e
    result = json.loads(run.result.read_text())
    return Trained(weights=run.weights, **result)


def _train(
    run: _Run, start: str, args: dict[str, Any], settings: Settings, report: Callable[[TrainingProgress], None]
) -> None:
    """Trains all remaining epochs, and writes `result.json`."""
    is_resumed = run.last.is_file()
    model = load_yolo(str(run.last) if is_resumed else start)
    epochs_done = int((model.ckpt or {}).get("epoch", -1)) + 1 if is_resumed else 0
    if epochs_done < args["epochs"]:
        if is_resumed:
            logger.info("The training resumes after epoch %s", epochs_done)
            run.restore_checkpoint(epochs_done)
        model.add_callback("on_model_save", run.save_checkpoint)
        if start.endswith(".pt"):
            model.add_callback("on_train_batch_start", keep_statistics)
        # `on_model_save` runs once per epoch; `on_fit_epoch_end` runs once more after the last.
        is_multi_gpu = len(parse_devices(settings.device_train)) > 1
        epoch_report = ProgressFile(run.progress_file) if is_multi_gpu else report
        model.add_callback(
            "on_model_save", _reporter(epoch_report, started=time.monotonic(), epochs_before=epochs_done)
        )
        model.add_callback("on_train_epoch_end", _time_limit(settings.train_max_minutes, started=time.monotonic()))
        device = prepare_device(settings)
        if is_multi_gpu:
            _train_on_gpus(model, {**args, "resume": is_resumed}, settings, run.progress_file, report)
        else:
            if device == "cpu" and computes_in_bfloat16():
                model.add_callback("on_train_start", use_bfloat16)
            model.train(**args, resume=is_resumed, device=device)
    if not run.last.is_file():
        raise ModelError("The training produced no weights.")
    # `last.pt` stays as it is: stripped, it could no longer say that all its epochs are done.
    checkpoint = quiet_ultralytics().utils.torch_utils.strip_optimizer(str(run.last), str(run.weights))
    facts = {
        "metrics": _metrics(checkpoint["train_metrics"]),
        "architecture": Path(model.model.yaml.get("yaml_file") or "yolo11n-seg.yaml").stem,
        "curves": run.curves.read_text() if run.curves.is_file() else "",
    }
    write_atomically(run.result, json.dumps(facts))


def _train_on_gpus(
    model: Any,
    args: dict[str, Any],
    settings: Settings,
    progress_file: Path,
    report: Callable[[TrainingProgress], None],
) -> None:
    # Imported here because it imports Ultralytics, which Drape imports only on first use.
    from training.finetuning.multi_gpu import MultiGpuTrainer, run_and_relay

    count = len(parse_devices(settings.device_train))
    if args["batch"] < count:
        raise ModelError(
            f"TRAIN_BATCH={args['batch']} is too small for {count} GPUs (DEVICE_TRAIN): each needs an image."
        )
    run_and_relay(
        partial(model.train, trainer=MultiGpuTrainer, **args, device=settings.device_train),
        progress_file=progress_file,
        report=report,
    )


def _base(name: str) -> str:
    return f"yolo11{name}-seg.pt" if name in SIZES else name


def _loads(weights: str) -> bool:
    """Whether the weights load; if not, logs a warning that says what happens instead."""
    try:
        load_yolo(weights)
    except ModelError as e:
        logger.warning(
            "%s Training starts from Drape's own base for garments (YOLO11n-seg). To start from COCO's weights without "
            "internet, set YOLO11_BASE to their file.",
            e,
        )
        return False
    return True


def _reporter(
    report: Callable[[TrainingProgress], None], *, started: float, epochs_before: int
) -> Callable[[Any], None]:
    def after_epoch(trainer: Any) -> None:
        done = trainer.epoch + 1
        pace_s = (time.monotonic() - started) / max(done - epochs_before, 1)
        losses = trainer.label_loss_items(trainer.tloss, prefix="train") if trainer.tloss is not None else {}
        report(
            TrainingProgress(
                epoch=min(done, trainer.epochs),
                epochs=trainer.epochs,
                losses={name.removeprefix("train/"): round(float(value), 4) for name, value in losses.items()},
                metrics=_metrics(trainer.metrics or {}),
                seconds_left=round(max(trainer.epochs - done, 0) * pace_s, 1),
            )
        )

    return after_epoch


def _time_limit(minutes: float, *, started: float) -> Callable[[Any], None]:
    def after_epoch(trainer: Any) -> None:
        # Ultralytics' own `time` argument would also prolong a shorter training to that time.
        if minutes and time.monotonic() - started > 60 * minutes:
            logger.info("The training ends after epoch %s: TRAIN_MAX_MINUTES=%g", trainer.epoch + 1, minutes)
            trainer.stop = True

    return after_epoch


def _metrics(raw: dict[str, Any]) -> dict[str, float]:
    return {
        name: round(float(raw[ultralytics_name]), 4)
        for ultralytics_name, name in METRICS.items()
        if ultralytics_name in raw
    }
