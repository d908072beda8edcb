"""Right pixels, as papers on garment parsing count them: label maps, their confusion matrix, and borders."""

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
# How far from a mask's border its pixels count as border, as a share of the image's diagonal (Cheng et al. 2021).
BORDER_SHARE = 0.02


@dataclass(frozen=True)
class ClassPixels:
    """One class's figures in `[0, 1]`, over all images together; None for a class that no truth shows.

    Attributes:
        accuracy: share of its pixels that are found.
        boundary_iou: IoU of the pixels near its border; None for the background, whose border is that of all others.
    """

    iou: float | None = None
    accuracy: float | None = None
    dice: float | None = None
    boundary_iou: float | None = None


@dataclass(frozen=True)
class PixelScores:
    """Figures of all classes.

    Attributes:
        overall_accuracy: share of all pixels that are of the right class; None where there are none.
        background, labels: the background's, and each label's in the order of their numbers.
    """

    overall_accuracy: float | None
    background: ClassPixels
    labels: tuple[ClassPixels, ...]


def label_map(layers: Iterable[tuple[Mask, int]], *, size_wh: tuple[int, int]) -> LabelMap:
    """Masks `bool (H, W)` with their labels' numbers, from 1, each on top of those before it."""
    drawn = np.zeros(size_wh[::-1], np.uint16)
    for mask, number in layers:
        drawn[mask] = number
    return drawn


def pixel_scores(maps: Iterable[tuple[LabelMap, LabelMap]], *, labels: int) -> PixelScores:
    """Counts truth and found label maps of the same images against each other, all images together.

    A class that no truth shows has no figures, even where it was found: so two models are compared over the same
    classes. Its pixels count against those of the classes that they hide.

    Args:
        maps: of each image the truth and what was found, of one size.
        labels: how many there are.
    """
    confusion = np.zeros((labels + 1, labels + 1), np.int64)
    borders = np.zeros((labels + 1, 2), np.int64)
    for truth, found in maps:
        both = truth.ravel().astype(np.int64) * (labels + 1) + found.ravel()
        confusion += np.bincount(both, minlength=confusion.size).reshape(confusion.shape)
        for number in np.union1d(truth, found):
            if number:
                borders[number] += _shared_border(truth == number, found == number)
    pixels = int(confusion.sum())
    background, *others = (_class_pixels(confusion, number, borders[number]) for number in range(labels + 1))
    return PixelScores(int(np.trace(confusion)) / pixels if pixels else None, background, tuple(others))


def _class_pixels(confusion: Counts, number: int, borders: Counts) -> ClassPixels:
    right, there, found = int(confusion[number, number]), int(confusion[number].sum()), int(confusion[:, number].sum())
    if not there:
        return ClassPixels()
    shared, either = map(int, borders)
    return ClassPixels(
        iou=right / (there + found - right),
        accuracy=right / there,
        dice=2 * right / (there + found),
        boundary_iou=shared / either if either else None,
    )


def _shared_border(truth: Mask, found: Mask) -> tuple[int, int]:
    """Pixels near the border of both masks, and near that of either."""
    one, other = _border(truth), _border(found)
    shared = int(rle.area(rle.merge([one, other], intersect=True)))
    return shared, int(rle.area(one)) + int(rle.area(other)) - shared


def _border(mask: Mask) -> dict[str, Any]:
    """A mask's pixels near its border, run-length encoded; where it is cut by the image's border, that is one, too."""
    # As the paper's own code erodes; the library's default way errs on narrow images.
    return rle.rleToBoundary(rle.encode(np.asfortranarray(mask.view(np.uint8))), BORDER_SHARE, backend="opencv")
