"""The part of a picture that the network sees: the whole picture, or a crop around a garment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Mask, Point

# People stand: so a portrait format wastes the least of a picture.
SIZE_WH = (192, 256)
# The nearer crop shows the garment with this share of its size around it, and never less of the picture than that.
MARGIN = 0.4
LEAST_SHARE = 0.2

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class Frame:
    """A rectangle of a picture in whole pixels, which may reach beyond it; what is beyond is black and unlabelled."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, array: npt.NDArray[Kind], *, size_wh: tuple[int, int], labels: bool = False) -> npt.NDArray[Kind]:
        """Returns the part of an `(H, W)` or `(H, W, C)` array, resized; labels are not mixed with their neighbours."""
        inside = array[max(self.top, 0) : self.top + self.height, max(self.left, 0) : self.left + self.width]
        above, before = max(-self.top, 0), max(-self.left, 0)
        below = self.height - above - inside.shape[0]
        after = self.width - before - inside.shape[1]
        framed: Any = np.pad(inside, ((above, below), (before, after), *((0, 0),) * (array.ndim - 2)))
        shrinks = self.width > size_wh[0]
        # Exactly nearest: `INTER_NEAREST` takes the upper left pixel, and labels would lie beside what they name.
        interpolation = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(framed, size_wh, interpolation=interpolation), array.dtype)

    def place(self, seen: npt.NDArray[np.float32], size_wh: tuple[int, int]) -> npt.NDArray[np.float32]:
        """Returns an array `(h, w)` over the frame as one over the whole picture, 0 outside of the frame."""
        resized = cv2.resize(seen, (self.width, self.height), interpolation=cv2.INTER_LINEAR)
        placed = np.zeros((size_wh[1], size_wh[0]), np.float32)
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.height, size_wh[1]), min(self.left + self.width, size_wh[0])
        placed[top:bottom, left:right] = resized[
            top - self.top : bottom - self.top, left - self.left : right - self.left
        ]
        return placed

    def point(self, point: Point, *, size_wh: tuple[int, int]) -> Point:
        """Returns a point of the picture in pixels of what `cut` returns."""
        x = (point.x - self.left) * size_wh[0] / self.width
        y = (point.y - self.top) * size_wh[1] / self.height
        return Point(x, y, point.positive)


def whole(picture_wh: tuple[int, int]) -> Frame:
    """Returns the smallest frame around a picture."""
    return fitted((0, 0, *picture_wh), scale=1.0)


def around(found: Mask, points: Sequence[Point]) -> Frame:
    """Returns the nearer crop around a mask and the clicks; the whole picture where there are neither."""
    height, width = found.shape
    rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
    xs = [point.x for point in points] + ([float(columns[0]), columns[-1] + 1.0] if columns.size else [])
    ys = [point.y for point in points] + ([float(rows[0]), rows[-1] + 1.0] if rows.size else [])
    if not xs:
        return whole((width, height))
    least = LEAST_SHARE * max(width, height)
    return fitted((min(xs), min(ys), max(xs), max(ys)), scale=1 + MARGIN, least_px=least)


def fitted(
    box_xyxy: tuple[float, float, float, float],
    *,
    scale: float,
    shift: tuple[float, float] = (0.0, 0.0),
    least_px: float = 1.0,
) -> Frame:
    """Returns the frame of the network's format around a box.

    Args:
        scale: so many times the box' size.
        shift: moves the frame, in shares of its size.
        least_px: the frame is at least as high.
    """
    left, top, right, bottom = box_xyxy
    format_wh = SIZE_WH[0] / SIZE_WH[1]
    height = max(bottom - top, (right - left) / format_wh) * scale
    height = max(height, least_px, 1.0)
    width = height * format_wh
    x = (left + right) / 2 + shift[0] * width - width / 2
    y = (top + bottom) / 2 + shift[1] * height - height / 2
    return Frame(round(x), round(y), max(round(width), 1), max(round(height), 1))
