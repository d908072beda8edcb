"""Measures what refining a detector's masks is worth, and what clicks on them are worth against clicks from nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.detector.yolo11 import ImageDetector
from backend.domain import LabelledMask, Mask, Photo, Point, Scene
from backend.errors import DatasetError
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from training.evaluation.held_out import HeldOut
from training.metrics.interactive import click_ious, iou, iou_at_click, next_click

CLICKS = 4
# A detection that overlaps less with every garment of its label is another fault than its border.
FOUND_IOU = 0.3
# IoU from which regions count as good enough to stay.
GOOD_IOUS = (0.8, 0.85, 0.9)


@dataclass(frozen=True)
class Fixes:
    """Masks of one kind, of the same detected garments.

    Attributes:
        iou: mean IoU with the garment, in `[0, 1]`.
        good: share of the masks with an IoU of at least each of `GOOD_IOUS`.
    """

    name: str
    iou: float
    good: tuple[float, ...]
    garments: int


def measure_fixes(
    detector: ImageDetector, segmenter: BuiltinSegmenter, photographs: Sequence[HeldOut], *, min_score: float
) -> list[Fixes]:
    """Returns the detector's masks, those refined, and those fixed by 1 to `CLICKS` clicks; then clicks alone.

    Raises:
        DatasetError: the detector finds no garment.
    """
    found: dict[str, list[float]] = {}
    scenes = detector.detect([photograph.image for photograph in photographs], min_score=min_score)
    for photograph, scene in zip(photographs, scenes, strict=True):
        for garment in photograph.truth:
            detected = _detected(scene, garment)
            if detected is None:
                continue
            found.setdefault("detected", []).append(iou(detected, garment.mask))
            refined = segmenter.refine(photograph.image, detected)
            found.setdefault("refined", []).append(iou(refined, garment.mask))
            fixed = _fixed(segmenter, photograph.image, detected, garment.mask)
            alone = click_ious(
                segmenter, photograph.image, garment.mask, min_clicks=CLICKS, max_clicks=CLICKS, target_iou=2
            )
            for name, ious in (("fixed by clicks", fixed), ("clicks alone", alone)):
                for count in range(1, CLICKS + 1):
                    found.setdefault(f"{name}: {count}", []).append(iou_at_click(ious, count))
    if not found:
        raise DatasetError("The detector finds none of the garments in the photographs that judge.")
    return [_summary(name, np.array(ious)) for name, ious in found.items()]


def _summary(name: str, ious: npt.NDArray[np.float64]) -> Fixes:
    return Fixes(name, float(ious.mean()), tuple(float((ious >= good).mean()) for good in GOOD_IOUS), len(ious))


def _fixed(segmenter: BuiltinSegmenter, image: Photo, before: Mask, truth: Mask) -> list[float]:
    """Returns the IoU after each click where the mask is most wrong."""
    points: tuple[Point, ...] = ()
    mask, ious = before, [iou(before, truth)]
    while len(points) < CLICKS and not np.array_equal(mask, truth):
        points += (next_click(truth, mask),)
        mask = segmenter.correct(image, mask, points)
        ious.append(iou(mask, truth))
    return ious[1:] or ious


def _detected(scene: Scene, garment: LabelledMask) -> Mask | None:
    """Returns the mask of the garment's label that overlaps it most; None where that is too little."""
    masks = [detection.mask for detection in scene.detections if detection.class_name == garment.label]
    best = max(masks, key=lambda mask: iou(mask, garment.mask), default=None)
    return best if best is not None and iou(best, garment.mask) >= FOUND_IOU else None
