"""What a student is: it learns from a lesson, answers images, has a size, and can be exported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from backend.detector.exported.answers import Answer
from backend.detector.yolo11 import ImageDetector
from backend.domain import Photo
from backend.settings import Settings
from training.finetuning.progress import TrainingProgress
from training.students.budget import Budget
from training.students.lesson import Lesson
from training.students.weights import Weights

# `instances` finds garment by garment; `label map` gives every pixel a label; `clothing` only tells clothing from none.
Kind = Literal["instances", "label map", "clothing"]
# The only label of a student that tells clothing from none.
CLOTHING = "clothing"


@dataclass(frozen=True)
class Learnt:
    """How a student learnt: seconds of training alone, epochs, and the weights that it began with, in words."""

    seconds: float
    epochs: float
    began_with: str


@dataclass(frozen=True)
class Size:
    """A network's size: its numbers, and their megabytes in float32."""

    parameters: int
    megabytes: float


@dataclass(frozen=True)
class Terms:
    """The same for all students of a comparison.

    Attributes:
        image_size_px: the longer side of the images, in training and when they are judged.
        device: as torch names it.
    """

    labels: tuple[str, ...]
    image_size_px: int
    budget: Budget
    weights: Weights
    settings: Settings
    device: str


class Student(Protocol):
    """One architecture."""

    @property
    def kind(self) -> Kind:
        """What it answers with."""

    def train(self, lesson: Lesson, folder: Path, report: Callable[[TrainingProgress], None]) -> Learnt:
        """Trains in `folder`, and resumes the training that was interrupted there.

        Raises:
            ModelError: a library or weights are missing, or the training failed; the message says which.
        """

    def predict(self, images: Iterable[Photo], *, min_score: float, device: str) -> Iterator[Answer]:
        """Yields PyTorch's answers in order, each computed alone; after `train`. A map has the lesson's labels.

        Args:
            min_score: confidence in `[0, 1]` from which a garment counts; label maps are not affected by it.
        """

    def size(self) -> Size:
        """Returns the size of the trained network."""

    def export(self, file: Path) -> None:
        """Writes the trained network as OpenVINO's `.xml`, with its weights beside it.

        Raises:
            ModelError: OpenVINO cannot convert it.
        """

    def open_export(self, file: Path) -> ImageDetector:
        """Returns the detector of what `export` wrote, which computes one image at a time on the CPU.

        Raises:
            ModelError: the file is missing or damaged.
        """


def size_of(network: torch.nn.Module) -> Size:
    """Returns a network's size; running means and other buffers count in megabytes, not as parameters."""
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    return Size(sum(parameter.numel() for parameter in network.parameters()), 4 * numbers / 1e6)
