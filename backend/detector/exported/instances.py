"""Boxes with a small mask in each, as Mask R-CNN answers, as garments."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from backend.detector.runtimes.base import Floats
from backend.detector.yolo11 import Letterbox
from backend.domain import Detection


def read_instances(
    outputs: Sequence[Floats],
    boxed: Letterbox,
    labels: Sequence[str],
    *,
    size_wh: tuple[int, int],
    min_score: float,
) -> tuple[Detection, ...]:
    """Returns the garments, highest score first, with masks `bool (H, W)`; none whose mask is empty.

    Args:
        outputs: boxes, `float32 (n, 4)`, left, top, right and bottom in pixels of `boxed`; numbers of labels from 1,
            `(n,)`; scores, `float32 (n,)` in `[0, 1]`; and the probability, in `[0, 1]`, that a part of the box belongs
            to the garment, `float32 (n, 1, rows, columns)`.
        size_wh: size of the masks, in pixels.
    """
    offset = np.array([boxed.left_px, boxed.top_px] * 2)
    scale = np.array([size / fitted for size, fitted in zip(size_wh, boxed.fitted_wh, strict=True)] * 2)
    found = [
        _detection(mask[0], (box - offset) * scale, labels[int(number) - 1], float(score), size_wh)
        for box, number, score, mask in zip(*outputs, strict=True)
        if score >= min_score
    ]
    garments = [garment for garment in found if garment is not None]
    return tuple(sorted(garments, key=lambda garment: -garment.score))


def _detection(
    in_box: Floats, box_xyxy: Floats, label: str, score: float, size_wh: tuple[int, int]
) -> Detection | None:
    """Returns the garment with its mask drawn into its box, pixel by pixel; None if nothing of it is in the image."""
    x_min, y_min, x_max, y_max = map(float, box_xyxy)
    left, top = max(int(x_min), 0), max(int(y_min), 0)
    right, bottom = min(int(np.ceil(x_max)), size_wh[0]), min(int(np.ceil(y_max)), size_wh[1])
    if x_min >= x_max or y_min >= y_max or left >= right or top >= bottom:
        return None
    across, down = in_box.shape[1] / (x_max - x_min), in_box.shape[0] / (y_max - y_min)
    # From the centre of a pixel of the image to the centre of a part of the box.
    move = np.array(
        [[across, 0, (left + 0.5 - x_min) * across - 0.5], [0, down, (top + 0.5 - y_min) * down - 0.5]], np.float64
    )
    size = (right - left, bottom - top)
    probability = cv2.warpAffine(in_box, move, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inside = probability > 0.5
    if not inside.any():
        return None
    mask = np.zeros(size_wh[::-1], bool)
    mask[top:bottom, left:right] = inside
    return Detection(mask, label, score, float(probability[inside].mean()))
