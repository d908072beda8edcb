"""Pixel metrics as papers on garment parsing define them, from label maps, their confusion matrix and boundaries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from faster_coco_eval import mask as rle

from backend.domain import Mask

# `uint16 (H, W)`: 0 is background, k the k-th label.
LabelMap = npt.NDArray[np.uint16]
Counts = npt.NDArray[np.int64]
# The width of a mask's boundary region as a share of the image's diagonal (Cheng et al. 2021).
BORDER_SHARE = 0.02


@dataclass(frozen=True)
class ClassPixels:
    """The metrics of a class in `[0, 1]`, over all images together; None for a class without ground truth.

    Attributes:
        accuracy: share of its ground truth pixels that are detected.
        boundary_iou: IoU of the pixels near its boundary; None for the background, which has none of its own.
    """

    iou: float | None = None
    accuracy: float | None = None
    dice: float | None = None
    boundary_iou: float | None = None


@dataclass(frozen=True)
class PixelScores:
    """The pixel metrics of all classes.

    Attributes:
        overall_accuracy: share of all pixels that have the right class; None if there is no pixel.
        background, labels: the metrics of the background, and of each label in the order of their numbers.
    """

    overall_accuracy: float | None
    background: ClassPixels
    labels: tuple[ClassPixels, ...]


def label_map(layers: Iterable[tuple[Mask, int]], *, size_wh: tuple[int, int]) -> LabelMap:
    """Draws masks `bool (H, W)` with their label numbers (from 1) into a map; later masks cover earlier ones."""
    drawn = np.zeros(size_wh[::-1], np.uint16)
    for mask, number in layers:
        drawn[mask] = number
    return drawn


def pixel_scores(maps: Iterable[tuple[LabelMap, LabelMap]], *, labels: int) -> PixelScores:
    """Compares ground truth with detected label maps, over all images together.

    A class without ground truth has no metrics, even if it was detected, so that two models are compared over the same
    classes. Its detected pixels count as errors of the classes that they cover.

    Args:
        maps: for each image the ground truth and the detected map, of the same size.
        labels: the number of labels.
    """
    confusion = np.zeros((labels + 1, labels + 1), np.int64)
    border_counts = np.zeros((labels + 1, 2), np.int64)
    for truth, detected in maps:
        cells = truth.ravel().astype(np.int64) * (labels + 1) + detected.ravel()
        confusion += np.bincount(cells, minlength=confusion.size).reshape(confusion.shape)
        for number in np.union1d(truth, detected):
            if number:
                border_counts[number] += _shared_border(truth == number, detected == number)
    pixels = int(confusion.sum())
    background, *by_label = (_class_pixels(confusion, number, border_counts[number]) for number in range(labels + 1))
    return PixelScores(int(np.trace(confusion)) / pixels if pixels else None, background, tuple(by_label))


def _class_pixels(confusion: Counts, number: int, borders: Counts) -> ClassPixels:
    correct, expected, detected = (
        int(confusion[number, number]),
        int(confusion[number].sum()),
        int(confusion[:, number].sum()),
    )
    if not expected:
        return ClassPixels()
    shared, either = map(int, borders)
    return ClassPixels(
        iou=correct / (expected + detected - correct),
        accuracy=correct / expected,
        dice=2 * correct / (expected + detected),
        boundary_iou=shared / either if either else None,
    )


def _shared_border(truth: Mask, detected: Mask) -> tuple[int, int]:
    """Counts the pixels near the boundary of both masks, and near the boundary of either."""
    truth_border, detected_border = _border(truth), _border(detected)
    shared = int(rle.area(rle.merge([truth_border, detected_border], intersect=True)))
    return shared, int(rle.area(truth_border)) + int(rle.area(detected_border)) - shared


def _border(mask: Mask) -> dict[str, Any]:
    """Returns a mask's pixels near its boundary, run-length encoded; the image's edge bounds a mask that it cuts."""
    # OpenCV erodes like the paper's own code; the library's default backend is wrong on narrow images.
    return rle.rleToBoundary(rle.encode(np.asfortranarray(mask.view(np.uint8))), BORDER_SHARE, backend="opencv")
