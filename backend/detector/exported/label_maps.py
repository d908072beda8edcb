"""A map of labels as garments: each connected region of a label is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from backend.detector.runtimes.base import Floats
from backend.detector.yolo11 import Letterbox
from backend.domain import Detection

# A region with a smaller share of the image is no garment; its pixels still count in the metrics of pixels.
MIN_REGION_SHARE = 0.001


def likeliest_labels(
    probabilities: Floats, boxed: Letterbox, *, size_wh: tuple[int, int]
) -> tuple[npt.NDArray[np.uint16], Floats]:
    """Returns each pixel's likeliest label, `uint16 (H, W)`, and its probability, `float32 (H, W)`.

    Args:
        probabilities: `float32 (labels + 1, h, w)` in `[0, 1]`, of the pixels of `boxed`, the background first.
        size_wh: size of what is returned, in pixels.
    """
    (wide, high), (left, top) = boxed.fitted_wh, (boxed.left_px, boxed.top_px)
    numbers = np.zeros(size_wh[::-1], np.uint16)
    best = np.zeros(size_wh[::-1], np.float32)
    # One label at a time: of a whole photograph, all together take gigabytes.
    for number, layer in enumerate(probabilities[:, top : top + high, left : left + wide]):
        if size_wh != (wide, high):
            layer = cv2.resize(layer, size_wh, interpolation=cv2.INTER_LINEAR)
        is_better = layer > best
        numbers[is_better] = number
        np.copyto(best, layer, where=is_better)
    return numbers, best


def garments_of(
    label_map: npt.NDArray[np.uint16], probability: Floats, labels: Sequence[str], *, min_score: float
) -> tuple[Detection, ...]:
    """Returns the connected regions of each label, highest score first; pixels that touch at a corner are connected.

    A region's score is the mean probability of its label over its pixels, as Mask2Former scores the masks that it
    makes of maps (Cheng et al. 2022). Two garments of a label that touch are one region.

    Args:
        label_map: `uint16 (H, W)`, the labels from 1.
        probability: `float32 (H, W)` in `[0, 1]`: that of each pixel's label.
        min_score: in `[0, 1]`, from which a region counts.
    """
    found = [
        detection
        for number in map(int, np.unique(label_map))
        if number
        for detection in _regions(label_map == number, probability, labels[number - 1])
        if detection.score >= min_score
    ]
    return tuple(sorted(found, key=lambda detection: -detection.score))


def _regions(mask: npt.NDArray[np.bool_], probability: Floats, label: str) -> Iterator[Detection]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    for part in range(1, count):
        if stats[part, cv2.CC_STAT_AREA] >= MIN_REGION_SHARE * mask.size:
            region = parts == part
            yield Detection(region, label, float(probability[region].mean()))
