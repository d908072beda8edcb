"""What a simulated annotator asks with, and how the network is shown it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Box, Mask, Point
from training.metrics.interactive import next_click

# Positive clicks, negative clicks, the box, the mask so far.
CHANNELS = 4
DISC_RADIUS_PX = 3
# How many first prompts are boxes, and how far each side of a drawn box is off, in shares of the box.
BOX_SHARE, BOX_ERROR = 0.2, 0.08


@dataclass(frozen=True)
class Clicks:
    """All that was asked of one garment so far, in pixels of the frame.

    Attributes:
        found: the network's last answer, `float32 (h, w)` in `[0, 1]`; None before the first, or where it is not kept.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    found: npt.NDArray[np.float32] | None = None

    def maps(self, size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Returns the prompt as the network sees it: `float32 (CHANNELS, h, w)` in `[0, 1]`."""
        maps = np.zeros((CHANNELS, size_wh[1], size_wh[0]), np.float32)
        for point in self.points:
            centre = int(point.x), int(point.y)
            cv2.circle(maps[0 if point.positive else 1], centre, DISC_RADIUS_PX, 1.0, cv2.FILLED)
        if self.box is not None:
            left, top, right, bottom = np.rint((self.box.x_min, self.box.y_min, self.box.x_max, self.box.y_max))
            maps[2, int(max(top, 0)) : int(bottom), int(max(left, 0)) : int(right)] = 1.0
        if self.found is not None:
            maps[3] = self.found
        return maps


def first_prompt(truth: Mask, rng: np.random.Generator) -> Clicks:
    """Returns a click well inside the garment or a box around it; `truth` is not empty."""
    if rng.random() < BOX_SHARE:
        return Clicks(box=_drawn_box(truth, rng))
    return Clicks((next_click(truth, np.zeros_like(truth), jitter=rng),))


def corrected(clicks: Clicks, truth: Mask, found: npt.NDArray[np.float32], rng: np.random.Generator) -> Clicks:
    """Returns the prompt after one more click where `found` is most wrong; no click where nothing is."""
    mask = found > 0.5
    if np.array_equal(mask, truth):
        return replace(clicks, found=found)
    return replace(clicks, points=(*clicks.points, next_click(truth, mask, jitter=rng)), found=found)


def stacked(clicks: Sequence[Clicks], size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Returns the maps of several prompts: `float32 (N, CHANNELS, h, w)`."""
    return np.stack([each.maps(size_wh) for each in clicks])


def _drawn_box(truth: Mask, rng: np.random.Generator) -> Box:
    left, top, width, height = cv2.boundingRect(truth.astype(np.uint8))
    off = rng.normal(0, BOX_ERROR / 2, 4) * (width, height, width, height)
    x_min, y_min = max(left + off[0], 0), max(top + off[1], 0)
    x_max, y_max = min(left + width + off[2], truth.shape[1]), min(top + height + off[3], truth.shape[0])
    return Box(x_min, y_min, max(x_max, x_min + 1), max(y_max, y_min + 1))
