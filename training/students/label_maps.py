"""A map of labels as garments: each connected region of a label is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Detection
from training.metrics.pixel_metrics import LabelMap

# A region with a smaller share of the image is no garment; its pixels still count in the metrics of pixels.
MIN_REGION_SHARE = 0.001


def garments_of(
    label_map: LabelMap, probabilities: npt.NDArray[np.float32], labels: Sequence[str]
) -> tuple[Detection, ...]:
    """Returns the connected regions of each label, highest score first; pixels that touch at a corner are connected.

    A region's score is the mean probability of its label over its pixels, as Mask2Former scores the masks that it
    makes of maps (Cheng et al. 2022). Two garments of a label that touch are one region.

    Args:
        label_map: `uint16 (H, W)`, the labels from 1.
        probabilities: `float32 (labels + 1, H, W)` in `[0, 1]`, the background first.
    """
    found = [
        detection
        for number in map(int, np.unique(label_map))
        if number
        for detection in _regions(label_map == number, probabilities[number], labels[number - 1])
    ]
    return tuple(sorted(found, key=lambda detection: -detection.score))


def _regions(mask: npt.NDArray[np.bool_], probability: npt.NDArray[np.float32], label: str) -> Iterator[Detection]:
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    for part in range(1, count):
        if stats[part, cv2.CC_STAT_AREA] >= MIN_REGION_SHARE * mask.size:
            region = parts == part
            yield Detection(region, label, float(probability[region].mean()))
