"""Pixel metrics as papers on garment parsing define them, from label maps, their confusion matrix and boundaries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

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
class PixelCounts:
    """What the metrics of an image are computed from; counts of images add up.

    Attributes:
        confusion: `int64 (labels + 1, labels + 1)`: pixels of each class in the ground truth (down), detected (across).
        borders: `int64 (labels + 1, 2)`: pixels near the boundary in both maps, and in either; of the background none.
    """

    confusion: Counts
    borders: Counts


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


def pixel_counts(truth: LabelMap, detected: LabelMap, *, labels: int) -> PixelCounts:
    """Compares an image's ground truth with a detected map of the same size; `labels` is the number of labels."""
    cells = truth.ravel().astype(np.int64) * (labels + 1) + detected.ravel()
    confusion = np.bincount(cells, minlength=(labels + 1) ** 2).reshape(labels + 1, labels + 1)
    borders = np.zeros((labels + 1, 2), np.int64)
    for number in np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1)):
        if number:
            borders[number] = _shared_border(truth == number, detected == number)
    return PixelCounts(confusion, borders)


def pixel_scores(counts: Iterable[PixelCounts], *, labels: int) -> PixelScores:
    """Returns the metrics over all images together.

    A class without ground truth has no metrics, even if it was detected, so that two models are compared over the same
    classes. Its detected pixels count as errors of the classes that they cover.

    Args:
        counts: of each image, with the same number of labels.
    """
    confusion = np.zeros((labels + 1, labels + 1), np.int64)
    borders = np.zeros((labels + 1, 2), np.int64)
    for of_image in counts:
        confusion += of_image.confusion
        borders += of_image.borders
    pixels = int(confusion.sum())
    background, *by_label = (_class_pixels(confusion, number, borders[number]) for number in range(labels + 1))
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
    width_px = max(round(BORDER_SHARE * math.hypot(*truth.shape)), 1)
    left, top, wide, high = cv2.boundingRect((truth | detected).view(np.uint8))
    first, second = (
        _border(mask[top : top + high, left : left + wide], width_px=width_px) for mask in (truth, detected)
    )
    return int(np.count_nonzero(first & second)), int(np.count_nonzero(first | second))


def _border(mask: Mask, *, width_px: int) -> Mask:
    """Returns a mask's pixels near its boundary; the edge of the array bounds a mask that it cuts."""
    # Eroded as by the paper's own code.
    framed = np.pad(mask, 1).view(np.uint8)
    inner = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=width_px)[1:-1, 1:-1]
    return mask & ~inner.view(bool)
