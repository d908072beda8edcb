"""The usual way to measure interactive segmentation: a simulated annotator clicks where the mask is most wrong.

Each next click is at the centre of the largest error region, positive where the object was missed and negative where
something else was taken (Xu et al. 2016, "Deep interactive object selection"; Sofiiuk et al. 2022, RITM). Its centre is
the pixel furthest from the region's border, the picture's frame counting as border.
"""

from __future__ import annotations

import cv2
import numpy as np

from backend.domain import Mask, Photo, Point, Prompt
from backend.segmenters.base import Segmenter

MAX_CLICKS = 20


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union, in `[0, 1]`; 1 of two empty masks."""
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 1.0


def next_click(truth: Mask, found: Mask, *, jitter: np.random.Generator | None = None) -> Point:
    """The click that an annotator would make next, in pixels.

    Args:
        jitter: moves the click to a chance pixel of the same error region, none nearer to its border than half as far
            as the centre is; None clicks at the centre.

    Raises:
        ValueError: nothing is wrong: there is no next click.
    """
    missed, false = _inner_distance(truth & ~found), _inner_distance(found & ~truth)
    distance = missed if missed.max() >= false.max() else false
    if not distance.max():
        raise ValueError("The mask has no error to click on.")
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    if jitter is not None:
        _, regions = cv2.connectedComponents((distance > 0).astype(np.uint8), connectivity=4)
        near = (regions == regions[row, column]) & (distance >= 0.5 * distance.max())
        row, column = jitter.choice(np.argwhere(near))
    return Point(float(column) + 0.5, float(row) + 0.5, positive=distance is missed)


def click_ious(
    segmenter: Segmenter,
    image: Photo,
    truth: Mask,
    *,
    min_clicks: int = 1,
    max_clicks: int = MAX_CLICKS,
    target_iou: float = 1.0,
    jitter: np.random.Generator | None = None,
) -> list[float]:
    """Returns the IoU after each click: `min_clicks`, and more until `target_iou` is reached, at most `max_clicks`.

    A segmenter that finds nothing is given an empty mask and clicks on; a perfect mask ends the run.
    """
    points: tuple[Point, ...] = ()
    found = np.zeros_like(truth)
    ious: list[float] = []
    while (
        len(ious) < max_clicks
        and (len(ious) < min_clicks or max(ious) < target_iou)
        and not np.array_equal(found, truth)
    ):
        points += (next_click(truth, found, jitter=jitter),)
        segments = segmenter.segment(image, Prompt(points=points))
        found = segments[0].mask if segments else np.zeros_like(truth)
        ious.append(iou(found, truth))
    return ious


def iou_at_click(ious: list[float], click: int) -> float:
    """IoU after `click` clicks; a run that ended earlier had all it needed."""
    return ious[min(click, len(ious)) - 1]


def number_of_clicks(ious: list[float], target_iou: float, *, max_clicks: int = MAX_CLICKS) -> int:
    """Clicks until the IoU first reaches `target_iou` (NoC); `max_clicks` where it does not."""
    reached = (click for click, value in enumerate(ious, start=1) if value >= target_iou)
    return min(next(reached, max_clicks), max_clicks)


def _inner_distance(region: Mask) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    framed = np.pad(region.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 5)[1:-1, 1:-1], np.float32)
