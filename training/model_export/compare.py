"""Compares an exported model with PyTorch: whether both detect the same garments, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from backend.compute.quiet_ultralytics import captured_warnings, quiet_ultralytics
from backend.detector.average_precision import mask_map
from backend.detector.prepare import MIN_SCORE, PSEUDO_LABEL_SCORE, confident_detections
from backend.domain import Detection, Image
from backend.errors import ModelError, first_line
from training.model_export.formats import FAILURES, missing_packages

# An export that is as precise as PyTorch reaches 1; a less precise one moves the edges of masks by a pixel.
MIN_AGREEMENT = 0.95
COMPARED_IMAGES = 32
# Engines choose their algorithms in the first rounds, which are not counted.
WARM_UP, ROUNDS = 5, 20


@dataclass(frozen=True)
class Check:
    """The result of comparing an export with PyTorch.

    Attributes:
        images: how many images both models ran on.
        agreement: mask mAP, in `[0, 1]`, of the export's detections against PyTorch's with a score of at least
            `PSEUDO_LABEL_SCORE`; None where PyTorch had none.
        torch_ms, export_ms: milliseconds from one image's pixels to its masks: the median of rounds taken in turns.
    """

    images: int
    agreement: float | None
    torch_ms: float
    export_ms: float

    @property
    def agrees(self) -> bool:
        """Whether the export may replace PyTorch."""
        return self.agreement is not None and self.agreement >= MIN_AGREEMENT


@dataclass(frozen=True)
class _Model:
    """One of the two models, as Ultralytics runs it.

    Attributes:
        settings: the arguments of every prediction.
    """

    yolo: Any
    settings: dict[str, Any]

    def detect(self, image: Image) -> list[Detection]:
        """Returns the detections in an image, with masks at the image's size."""
        (result,) = self._predict(image, conf=MIN_SCORE, retina_masks=True)
        if result.masks is None:
            return []
        masks = result.masks.data.cpu().numpy() > 0
        kinds, scores = result.boxes.cls.cpu().numpy(), result.boxes.conf.cpu().numpy()
        return [
            Detection(mask, result.names[int(kind)], float(score))
            for mask, kind, score in zip(masks, kinds, scores, strict=True)
        ]

    def milliseconds(self, image: Image) -> float:
        """Returns how long one image takes when it is predicted as a video's frame would be."""
        begun = time.perf_counter()
        self._predict(image, conf=PSEUDO_LABEL_SCORE)
        return (time.perf_counter() - begun) * 1000

    def _predict(self, image: Image, **asked: Any) -> Any:
        # Ultralytics expects arrays with OpenCV's channel order, BGR.
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
    """Runs the export, and PyTorch in single precision, on the same images.

    Args:
        exported: the export's file or folder, under the name that Ultralytics gave it.
        images: at least one; at most `COMPARED_IMAGES` of them are used.
        any_shape: whether the export takes images of any shape; if not, both models get images padded to a square.
        half: whether the export computes in half precision.
        device: the device, as Ultralytics names it.

    Raises:
        ModelError: the export does not run on this machine.
    """
    settings = {"imgsz": image_size_px, "rect": any_shape, "device": device, "verbose": False}
    yolo = quiet_ultralytics().YOLO
    with captured_warnings() as warnings:
        torch = _Model(yolo(weights, task="segment"), settings)
        try:
            export = _Model(yolo(exported, task="segment"), {**settings, **({"quantize": 16} if half else {})})
            return _compared(torch, export, images[:: -(-len(images) // COMPARED_IMAGES)])
        except FAILURES as e:
            raise ModelError(missing_packages(warnings, e) or first_line(e)) from e


def _compared(torch: _Model, export: _Model, images: Sequence[Image]) -> Check:
    expected = [list(confident_detections(torch.detect(image))) for image in images]
    agreement = mask_map(expected, [export.detect(image) for image in images])
    # Only one image is timed: a camera's frames have one size, and some engines set up again for each new size.
    times = [(torch.milliseconds(images[0]), export.milliseconds(images[0])) for _ in range(WARM_UP + ROUNDS)]
    torch_ms, export_ms = (median(times_ms) for times_ms in zip(*times[WARM_UP:], strict=True))
    return Check(len(images), agreement, torch_ms, export_ms)
