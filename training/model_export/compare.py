"""An exported model beside PyTorch's: whether both find the same, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from backend.compute.quiet_ultralytics import overheard, quiet_ultralytics
from backend.detector.average_precision import mask_map
from backend.detector.prepare import LEAST_SCORE, SURE, sure_finds
from backend.domain import Detection, Image
from backend.errors import ModelError, first_line
from training.model_export.formats import FAILURES, missing_packages

# What is computed as precisely as PyTorch does reaches 1; what is less precise moves borders by a pixel.
LEAST_AGREEMENT = 0.95
COMPARED_IMAGES = 32
# Engines choose their way of computing in the first rounds.
WARM_UP, ROUNDS = 5, 20


@dataclass(frozen=True)
class Check:
    """How an export compares.

    Attributes:
        images: how many both looked at.
        agreement: mask mAP, in `[0, 1]`, of what the export finds against what PyTorch is sure of; None where PyTorch
            was sure of nothing.
        torch_ms, export_ms: milliseconds from one image's pixels to its masks, the median of some rounds in turns.
    """

    images: int
    agreement: float | None
    torch_ms: float
    export_ms: float

    @property
    def agrees(self) -> bool:
        """Whether the export may stand in for PyTorch."""
        return self.agreement is not None and self.agreement >= LEAST_AGREEMENT


@dataclass(frozen=True)
class _Model:
    """One of the two, as Ultralytics runs it.

    Attributes:
        settings: what each image is predicted with.
    """

    yolo: Any
    settings: dict[str, Any]

    def finds(self, image: Image) -> list[Detection]:
        """What it finds, with masks at the image's size."""
        (result,) = self._predict(image, conf=LEAST_SCORE, retina_masks=True)
        if result.masks is None:
            return []
        masks = result.masks.data.cpu().numpy() > 0
        kinds, scores = result.boxes.cls.cpu().numpy(), result.boxes.conf.cpu().numpy()
        return [
            Detection(mask, result.names[int(kind)], float(score))
            for mask, kind, score in zip(masks, kinds, scores, strict=True)
        ]

    def milliseconds(self, image: Image) -> float:
        """How long one image takes, as a video's frames would be predicted."""
        begun = time.perf_counter()
        self._predict(image, conf=SURE)
        return (time.perf_counter() - begun) * 1000

    def _predict(self, image: Image, **asked: Any) -> Any:
        # Ultralytics takes arrays as OpenCV reads them.
        return self.yolo.predict(np.ascontiguousarray(image.pixels[..., ::-1]), **self.settings, **asked)


def compare(
    weights: Path,
    exported: Path,
    images: Sequence[Image],
    *,
    image_size_px: int,
    any_shape: bool,
    half: bool,
    device: str,
) -> Check:
    """Runs both on the same images, PyTorch in single precision.

    Args:
        exported: a file or folder, as Ultralytics named it.
        images: at least one; some are enough.
        any_shape: whether the export takes images of any shape; else both see them padded to a square.
        half: whether the export computes in half precision.
        device: as Ultralytics names it.

    Raises:
        ModelError: the export does not run on this machine.
    """
    settings = {"imgsz": image_size_px, "rect": any_shape, "device": device, "verbose": False}
    yolo = quiet_ultralytics().YOLO
    with overheard() as said:
        torch = _Model(yolo(weights, task="segment"), settings)
        try:
            export = _Model(yolo(exported, task="segment"), {**settings, **({"quantize": 16} if half else {})})
            return _compared(torch, export, images[:: -(-len(images) // COMPARED_IMAGES)])
        except FAILURES as e:
            raise ModelError(missing_packages(said, e) or first_line(e)) from e


def _compared(torch: _Model, export: _Model, images: Sequence[Image]) -> Check:
    expected = [list(sure_finds(torch.finds(image))) for image in images]
    agreement = mask_map(expected, [export.finds(image) for image in images])
    # One image: a camera's frames are all of one size, and some engines begin anew with each size.
    times = [(torch.milliseconds(images[0]), export.milliseconds(images[0])) for _ in range(WARM_UP + ROUNDS)]
    torch_ms, export_ms = (median(ones) for ones in zip(*times[WARM_UP:], strict=True))
    return Check(len(images), agreement, torch_ms, export_ms)
