"""How the network is shown a prompt: a channel each for positive clicks, negative clicks, boxes and the mask so far."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Box, Point
from backend.segmenters.builtin.frames import SIZE_WH

CHANNELS = 4
DISC_RADIUS_PX = 3

Probabilities = npt.NDArray[np.float32]
PromptMaps = npt.NDArray[np.float32]


def prompt_maps(points: Sequence[Point], box: Box | None, found: Probabilities | None) -> PromptMaps:
    """Returns the prompt as the network takes it: `float32 (CHANNELS, h, w)` of `SIZE_WH`, in `[0, 1]`.

    Args:
        points, box: in pixels of the frame.
        found: how probable each pixel is by the answer so far, `float32 (h, w)`; None without one.
    """
    width, height = SIZE_WH
    maps = np.zeros((CHANNELS, height, width), np.float32)
    for point in points:
        centre = int(np.floor(point.x)), int(np.floor(point.y))
        cv2.circle(maps[0 if point.positive else 1], centre, DISC_RADIUS_PX, 1.0, cv2.FILLED)
    if box is not None:
        left, top, right, bottom = np.rint((box.x_min, box.y_min, box.x_max, box.y_max)).astype(int)
        maps[2, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = 1.0
    if found is not None:
        maps[3] = found
    return maps
