"""Trains any PyTorch network by its own loss, keeps checkpoints, resumes, and answers images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from backend.detector.exported.answers import OUTPUT_NAMES, Answer, OutputKind, read_answer
from backend.detector.exported.detector import ExportedDetector
from backend.detector.runtimes.openvino_export import export_openvino
from backend.detector.yolo11 import ImageDetector, letterbox
from backend.domain import Photo, Pixels
from backend.errors import ModelError, first_line
from backend.storage.atomic_files import replacing
from training.finetuning.half_precision import computes_in_bfloat16, depthwise_in_float32
from training.finetuning.progress import TrainingProgress
from training.students.budget import Clock
from training.students.lesson import Lesson
from training.students.pictures import Sample, rounded_side, sample_of
from training.students.student import CLOTHING, Kind, Learnt, Size, Terms, size_of

logger = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
# A training that is interrupted loses at most so many seconds, and an epoch if that is shorter.
SAVE_EVERY_S = 120.0
# The learning rate rises over the first share of the budget, then falls along half a cosine to this share of it.
WARMUP_SHARE, LAST_RATE = 0.05, 0.01
WEIGHT_DECAY = 0.01
MAX_GRADIENT = 10.0
# ImageNet's, of images in `[0, 1]`, RGB.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Family(Protocol):
    """A network with its loss.

    Attributes:
        kind: what it answers with.
        network: takes `float32 (N, 3, h, w)` in `[0, 1]`, RGB, with whole strides of 32 pixels.
        batch: pictures in a batch.
        learning_rate: the highest.
        began_with: the initial weights, in words.
        half: whether its training may compute in bfloat16.
    """

    kind: Kind
    network: torch.nn.Module
    batch: int
    learning_rate: float
    began_with: str
    half: bool

    def loss(self, images: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Returns the loss of a batch, a scalar."""

    def answering(self) -> torch.nn.Module:
        """Returns the network as it answers one image and is exported: its outputs are a tuple, see `OUTPUT_NAMES`.

        Of a network that tells clothing from none it is a map with the label clothing.
        """


class TorchStudent:
    """A family as a student; see `Student`."""

    def __init__(self, family: Family, terms: Terms) -> None:
        self._family = family
        self._terms = terms

    @property
    def kind(self) -> Kind:
        """See `Student.kind`."""
        return self._family.kind

    def train(self, lesson: Lesson, folder: Path, report: Callable[[TrainingProgress], None]) -> Learnt:
        """See `Student.train`."""
        try:
            return _Training(self._family, self._terms, lesson, folder / CHECKPOINT).run(report)
        except (RuntimeError, ValueError, OSError) as e:
            raise ModelError(f"The training failed: {first_line(e)}") from e

    def predict(self, images: Iterable[Photo], *, min_score: float, device: str) -> Iterator[Answer]:
        """See `Student.predict`."""
        network = self._family.answering().to(device).eval()
        for image in images:
            boxed = letterbox(image.pixels, side_px=self._terms.image_size_px)
            with torch.inference_mode():
                outputs = [output.cpu().numpy() for output in network(_tensor([boxed.pixels], device))]
            yield read_answer(
                outputs, self._output_kind, boxed, self._answered, size_wh=image.size_wh, min_score=min_score
            )

    def size(self) -> Size:
        """See `Student.size`."""
        return size_of(self._family.network)

    def export(self, file: Path) -> None:
        """See `Student.export`; the file is one that `ExportedDetector` loads."""
        network = self._family.answering().cpu().eval()
        export_openvino(network, file, outputs=OUTPUT_NAMES[self._output_kind])

    def open_export(self, file: Path) -> ImageDetector:
        """See `Student.open_export`."""
        return ExportedDetector(
            file,
            file.with_suffix(".bin"),
            kind=self._output_kind,
            classes=self._answered,
            image_size_px=self._terms.image_size_px,
        )

    @property
    def _output_kind(self) -> OutputKind:
        return "instances" if self.kind == "instances" else "label map"

    @property
    def _answered(self) -> tuple[str, ...]:
        """The labels of its answers, in order."""
        return (CLOTHING,) if self.kind == "clothing" else self._terms.labels


class _Training:
    """A training that began, or goes on from its checkpoint. Sample and order depend on the step alone."""

    def __init__(self, family: Family, terms: Terms, lesson: Lesson, checkpoint: Path) -> None:
        self._family, self._terms, self._lesson, self._checkpoint = family, terms, lesson, checkpoint
        self._side = rounded_side(terms.image_size_px)
        self._batch = min(family.batch, len(lesson.train))
        self._steps = -(-len(lesson.train) // self._batch)
        self._network = family.network.to(terms.device)
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=family.learning_rate, weight_decay=WEIGHT_DECAY
        )
        self._half = family.half and terms.device == "cpu" and computes_in_bfloat16()
        self._step = 0
        self._seconds = 0.0
        self._began_with = family.began_with
        self._is_done = False
        if checkpoint.is_file():
            self._restore(torch.load(checkpoint, map_location=terms.device, weights_only=True))

    def run(self, report: Callable[[TrainingProgress], None]) -> Learnt:
        """Trains until the budget is used up."""
        clock = Clock(self._terms.budget, seconds=self._seconds)
        if not self._is_done:
            if self._half:
                depthwise_in_float32(self._network)
            self._learn(clock, report)
        return Learnt(clock.seconds, self._epochs, self._began_with)

    @property
    def _epochs(self) -> float:
        return self._step / self._steps

    def _learn(self, clock: Clock, report: Callable[[TrainingProgress], None]) -> None:
        torch.manual_seed(0)
        self._network.train()
        saved_at, losses = clock.seconds, list[float]()
        while (used := clock.progress(self._epochs)) < 1:
            with clock.running():
                losses.append(self._learn_step(used))
            self._step += 1
            is_epoch = self._step % self._steps == 0
            if is_epoch or clock.seconds - saved_at > SAVE_EVERY_S:
                self._save(clock.seconds, is_done=clock.progress(self._epochs) >= 1)
                saved_at = clock.seconds
            if is_epoch:
                report(self._told(clock, losses))
                losses = []
        self._save(clock.seconds, is_done=True)

    def _learn_step(self, used: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self._family.learning_rate * rate(used)
        samples = self._samples()
        images = _tensor([sample.pixels for sample in samples], self._terms.device)
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self._family.loss(images, samples)
        if not math.isfinite(loss.item()):
            raise ModelError("The training failed: its loss is no finite number any more.")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), MAX_GRADIENT)
        self._optimizer.step()
        return loss.item()

    def _samples(self) -> list[Sample]:
        """Returns the batch of this step: each epoch draws every picture once, in an order of its own."""
        epoch, place = divmod(self._step, self._steps)
        order = np.random.default_rng(epoch).permutation(len(self._lesson.train))
        chosen = np.resize(order[place * self._batch : (place + 1) * self._batch], self._batch)
        return [
            sample_of(self._lesson.train[number], self._lesson.labels, side_px=self._side, seed=(self._step, position))
            for position, number in enumerate(map(int, chosen))
        ]

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast("cpu", torch.bfloat16) if self._half else nullcontext()

    def _told(self, clock: Clock, losses: Sequence[float]) -> TrainingProgress:
        return TrainingProgress(
            epoch=math.floor(self._epochs),
            epochs=clock.expected_epochs(self._epochs),
            losses={"loss": round(float(np.mean(losses)), 4)},
            metrics={},
            seconds_left=round(clock.seconds_left(self._epochs), 1),
        )

    def _save(self, seconds: float, *, is_done: bool) -> None:
        facts = {"step": self._step, "seconds": seconds, "is_done": is_done, "began_with": self._began_with}
        # What only a training needs is two thirds of the file.
        optimizer = None if is_done else self._optimizer.state_dict()
        with replacing(self._checkpoint) as temporary:
            torch.save({**facts, "network": self._network.state_dict(), "optimizer": optimizer}, temporary)

    def _restore(self, saved: dict[str, Any]) -> None:
        self._network.load_state_dict(saved["network"])
        self._step, self._seconds, self._is_done = saved["step"], saved["seconds"], saved["is_done"]
        self._began_with = saved["began_with"]
        if not self._is_done:
            self._optimizer.load_state_dict(saved["optimizer"])
            logger.info("The training resumes after %.1f minutes, %.1f epochs", self._seconds / 60, self._epochs)


def rate(used: float) -> float:
    """Returns the share of the highest learning rate, in `[0, 1]`, where a share `used` of the budget is used up."""
    if used < WARMUP_SHARE:
        return max(used / WARMUP_SHARE, LAST_RATE)
    return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(used, 1.0)))


def _tensor(pictures: Sequence[Pixels], device: str) -> torch.Tensor:
    stacked = torch.from_numpy(np.stack(pictures)).to(device)
    return stacked.permute(0, 3, 1, 2).float() / 255


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Returns images in `[0, 1]`, `float32 (N, 3, H, W)`, as encoders that were pretrained on ImageNet take them."""
    mean, deviation = (torch.tensor(value, device=images.device).view(1, 3, 1, 1) for value in (MEAN, DEVIATION))
    return (images - mean) / deviation
