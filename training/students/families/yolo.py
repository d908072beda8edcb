"""Ultralytics' YOLO11-seg and YOLOv8-seg, trained as Drape trains its own, within a budget."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from backend.compute.quiet_ultralytics import load_yolo, quiet_ultralytics
from backend.detector.exported.answers import Answer
from backend.detector.runtimes.network import GarmentNetwork, load_network
from backend.detector.runtimes.openvino_export import export_openvino
from backend.detector.runtimes.openvino_runtime import OpenVinoRuntime
from backend.detector.runtimes.torch_runtime import TorchRuntime
from backend.detector.starter import STARTER
from backend.detector.yolo11 import Detector, ImageDetector
from backend.domain import Photo
from backend.errors import ModelError, first_line
from backend.storage.atomic_files import copy_atomically, write_atomically
from training.finetuning.batch_norm import keep_statistics
from training.finetuning.half_precision import computes_in_bfloat16, use_bfloat16
from training.finetuning.progress import TrainingProgress
from training.finetuning.schedule import WARMUP_SHARE, WITHOUT_MOSAIC_SHARE
from training.finetuning.ultralytics_args import training_args
from training.students.budget import Clock
from training.students.lesson import Lesson
from training.students.student import Kind, Learnt, Size, Terms, size_of
from training.students.weights import RANDOM

logger = logging.getLogger(__name__)

ADDRESS = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"
# The student that begins with Drape's own base for garments, as a project's first training does.
GARMENTS = "yolo11n-garments"
LAST, RESULT, WEIGHTS, STATE = "last.pt", "learnt.json", "trained.pt", "state.json"
# Ultralytics cannot do without validating at the end: it does so on as few images.
VALIDATED_IMAGES = 4


class Yolo:
    """One size of one release; see `Student`."""

    kind: Kind = "instances"

    def __init__(self, name: str, terms: Terms) -> None:
        """`name`: such as `yolo11n` or `yolov8s`, or `GARMENTS`."""
        self._name = name
        self._terms = terms
        self._network: GarmentNetwork | None = None
        self._classes: tuple[str, ...] = ()

    def train(self, lesson: Lesson, folder: Path, report: Callable[[TrainingProgress], None]) -> Learnt:
        """See `Student.train`. It stops at the first batch after the budget is used up."""
        result = folder / RESULT
        if not result.is_file():
            try:
                learnt = _Run(self._name, self._terms, lesson, folder).train(report)
            except (RuntimeError, ValueError, OSError) as e:
                raise ModelError(f"The training failed: {first_line(e)}") from e
            write_atomically(result, json.dumps(vars(learnt)))
        self._network, self._classes = load_network(folder / WEIGHTS)
        return Learnt(**json.loads(result.read_text()))

    def predict(self, images: Iterable[Photo], *, min_score: float, device: str) -> Iterator[Answer]:
        """See `Student.predict`."""
        runtime = TorchRuntime(self._trained, device=device, batch=1)
        detector = Detector(runtime, classes=self._classes, image_size_px=self._terms.image_size_px)
        for scene in detector.detect(images, min_score=min_score):
            yield Answer(scene.detections)

    def size(self) -> Size:
        """See `Student.size`."""
        return size_of(self._trained)

    def export(self, file: Path) -> None:
        """See `Student.export`; the file is one that Drape's own detector loads."""
        export_openvino(self._trained.cpu().float(), file)

    def open_export(self, file: Path) -> ImageDetector:
        """See `Student.open_export`."""
        runtime = OpenVinoRuntime(file, precision="f32", hint="LATENCY")
        return Detector(runtime, classes=self._classes, image_size_px=self._terms.image_size_px)

    @property
    def _trained(self) -> GarmentNetwork:
        if self._network is None:
            raise ModelError(f"{self._name} has learnt nothing yet.")
        return self._network


class _Run:
    """A training in a folder: Ultralytics' own files, a copy of its last checkpoint, and the time it took so far."""

    def __init__(self, name: str, terms: Terms, lesson: Lesson, folder: Path) -> None:
        self._terms, self._lesson, self._folder = terms, lesson, folder
        self._last, self._state_file, self._written = folder / LAST, folder / STATE, folder / "run"
        self._state = self._kept_state()
        self._start, self._began_with = initial(name, terms)
        self._clock = Clock(terms.budget, seconds=self._state["seconds"] if self._state else 0.0)
        self._batches = 0

    def train(self, report: Callable[[TrainingProgress], None]) -> Learnt:
        """Trains until the budget is used up, and writes the weights."""
        if not (self._state and self._state["is_done"]):
            self._train(report)
        state = self._kept_state()
        if state is None:
            raise ModelError("The training produced no weights.")
        quiet_ultralytics().utils.torch_utils.strip_optimizer(str(self._last), str(self._folder / WEIGHTS))
        shutil.rmtree(self._written, ignore_errors=True)
        return Learnt(state["seconds"], state["epochs"], state["began_with"])

    def _train(self, report: Callable[[TrainingProgress], None]) -> None:
        if self._state:
            logger.info("The training resumes after %.1f epochs", self._state["epochs"])
        # Ultralytics evaluates it at the end, if there is one.
        (self._written / "weights" / "best.pt").unlink(missing_ok=True)
        model = load_yolo(str(self._last) if self._state else self._start)
        for event, callback in self._callbacks(report):
            model.add_callback(event, callback)
        model.train(**self._args(), resume=bool(self._state), device=self._terms.device)

    def _kept_state(self) -> dict[str, Any] | None:
        """Returns what the last checkpoint was reached with; None without one."""
        if not self._last.is_file() or not self._state_file.is_file():
            return None
        state: dict[str, Any] = json.loads(self._state_file.read_text())
        return state

    def _args(self) -> dict[str, Any]:
        """Returns Drape's own arguments of a training, but for how long it lasts."""
        lesson, budget, is_pretrained = self._lesson, self._terms.budget, self._start.endswith(".pt")
        args = training_args(
            self._terms.settings.model_copy(update={"device": self._terms.device}),
            data=_validated_on_few(lesson, self._folder),
            image_size_px=lesson.image_size_px,
            folder=self._written,
            drawn=len(lesson.train),
            classes=len(lesson.labels),
        )
        epochs = self._clock.expected_epochs(0)
        warmup = 1.0 if budget.epochs is None else WARMUP_SHARE * epochs
        length = {"epochs": epochs, "warmup_epochs": warmup, "close_mosaic": int(WITHOUT_MOSAIC_SHARE * epochs)}
        # Otherwise Ultralytics keeps the architecture alone, and starts from random weights.
        return {**args, **length, "val": False, "pretrained": is_pretrained}

    def _callbacks(self, report: Callable[[TrainingProgress], None]) -> Iterator[tuple[str, Callable[[Any], None]]]:
        clock, is_timed = self._clock, self._terms.budget.minutes is not None

        def begin_epoch(trainer: Any) -> None:
            if is_timed:
                _expect(trainer, clock.expected_epochs(trainer.epoch))
            clock.start()

        def after_batch(trainer: Any) -> None:
            self._batches += 1
            trainer.stop = trainer.stop or (is_timed and clock.progress(0) >= 1)

        def end_epoch(trainer: Any) -> None:
            clock.stop()

        def after_epoch(trainer: Any) -> None:
            epochs = trainer.start_epoch + self._batches / len(trainer.train_loader)
            copy_atomically(trainer.last, self._last)
            self._keep_state(epochs, is_done=bool(trainer.stop))
            report(_told(trainer, clock, epochs))

        yield "on_train_epoch_start", begin_epoch
        yield "on_train_batch_end", after_batch
        yield "on_train_epoch_end", end_epoch
        yield "on_model_save", after_epoch
        if self._terms.device == "cpu" and computes_in_bfloat16():
            yield "on_train_start", use_bfloat16
        if not self._began().startswith(RANDOM):
            yield "on_train_batch_start", keep_statistics

    def _began(self) -> str:
        """Returns what the training began with, in words: before it was stopped, where it goes on."""
        return str(self._state["began_with"]) if self._state else self._began_with

    def _keep_state(self, epochs: float, *, is_done: bool) -> None:
        facts = {"seconds": self._clock.seconds, "epochs": epochs, "is_done": is_done, "began_with": self._began()}
        write_atomically(self._state_file, json.dumps(facts))


def initial(name: str, terms: Terms) -> tuple[str, str]:
    """Returns what Ultralytics starts from, and in words: weights where they are to be had, else a random network."""
    if name == GARMENTS:
        return str(STARTER), "Drape's own base for garments"
    path = terms.weights.find(f"{ADDRESS}{name}-seg.pt")
    if path is not None:
        return str(path.absolute()), f"{path.name}, pretrained on COCO"
    return f"{name}-seg.yaml", terms.weights.missing(f"{name}-seg.pt")


def _expect(trainer: Any, epochs: int) -> None:
    """Has the learning rate fall, and mosaics end, by so many epochs; as Ultralytics does for its own `time`."""
    trainer.epochs = trainer.args.epochs = epochs
    trainer.args.close_mosaic = max(1, int(WITHOUT_MOSAIC_SHARE * epochs))
    trainer._setup_scheduler()
    trainer.scheduler.last_epoch = trainer.epoch - 1


def _told(trainer: Any, clock: Clock, epochs: float) -> TrainingProgress:
    losses = trainer.label_loss_items(trainer.tloss) if trainer.tloss is not None else {}
    return TrainingProgress(
        epoch=trainer.epoch + 1,
        epochs=max(clock.expected_epochs(epochs), trainer.epoch + 1),
        losses={name.removeprefix("train/"): round(float(value), 4) for name, value in losses.items()},
        metrics={},
        seconds_left=round(clock.seconds_left(epochs), 1),
    )


def _validated_on_few(lesson: Lesson, folder: Path) -> Path:
    """Writes the data set's description with few images to validate on, and returns its path."""
    whole = lesson.dataset.data_yaml
    layout = yaml.safe_load(whole.read_text())
    few = sorted((whole.parent / layout["val"]).absolute().iterdir())[:VALIDATED_IMAGES]
    write_atomically(folder / "few.txt", "".join(f"{path}\n" for path in few))
    layout["train"] = str((whole.parent / layout["train"]).absolute())
    layout["val"] = str((folder / "few.txt").absolute())
    write_atomically(folder / "data.yaml", yaml.safe_dump(layout, sort_keys=False))
    return (folder / "data.yaml").absolute()
