"""The part of a picture that the network sees: the whole picture, or a crop around a garment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Box, Mask, Point

# People stand: so a portrait format wastes the least of a picture.
SIZE_WH = (192, 256)
# The nearer crop shows the garment with this share of its size around it, and never less of the picture than that.
MARGIN = 0.4
LEAST_SHARE = 0.2
# A frame that is so many times larger than what the network sees is reduced in two steps.
MOST_TIMES_LARGER = 4

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
        edges: Sequence[int] = (max(-self.top, 0), max(-self.left, 0), self.height, self.width)
        # Exactly nearest: `INTER_NEAREST` takes the upper left pixel, and labels would lie beside what they name.
        smaller = cv2.INTER_NEAREST_EXACT if labels else cv2.INTER_AREA
        # The frame of a large picture may be much larger still: it is filled up after the picture is reduced.
        factor = max(1, self.width // (MOST_TIMES_LARGER * size_wh[0]))
        if factor > 1:
            reduced_wh = max(1, round(inside.shape[1] / factor)), max(1, round(inside.shape[0] / factor))
            inside = np.asarray(cv2.resize(inside, reduced_wh, interpolation=smaller), array.dtype)
            edges = [round(edge / factor) for edge in edges]
        above, before, height, width = edges
        below, after = max(height - above - inside.shape[0], 0), max(width - before - inside.shape[1], 0)
        framed: Any = np.pad(inside, ((above, below), (before, after), *((0, 0),) * (array.ndim - 2)))
        interpolation = smaller if labels or width > size_wh[0] else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(framed, size_wh, interpolation=interpolation), array.dtype)

    def seen_from(self, seen: npt.NDArray[np.float32], other: Frame) -> npt.NDArray[np.float32]:
        """Returns what this frame shows, `float32 (h, w)`, as the other frame shows it; 0 where this one ends."""
        return self._seen_from(seen, other, size_wh=SIZE_WH, beyond=cv2.BORDER_CONSTANT)

    def place(self, seen: npt.NDArray[np.float32], size_wh: tuple[int, int], *, threshold: float) -> Mask:
        """Returns where an array `(h, w)` over the frame exceeds the threshold, in the picture: `bool (H, W)`."""
        # Neighbours are mixed, so that nothing further than one of them from what exceeds the threshold does so, too.
        x, y, wide, high = cv2.boundingRect((seen > threshold).view(np.uint8))
        scale_x, scale_y = self.width / SIZE_WH[0], self.height / SIZE_WH[1]
        left = max(self.left + floor(max(x - 1, 0) * scale_x), 0)
        top = max(self.top + floor(max(y - 1, 0) * scale_y), 0)
        right = min(self.left + ceil(min(x + wide + 1, SIZE_WH[0]) * scale_x), size_wh[0])
        bottom = min(self.top + ceil(min(y + high + 1, SIZE_WH[1]) * scale_y), size_wh[1])
        placed = np.zeros((size_wh[1], size_wh[0]), bool)
        if left < right and top < bottom:
            inside = Frame(left, top, right - left, bottom - top)
            probable = self._seen_from(seen, inside, size_wh=(inside.width, inside.height), beyond=cv2.BORDER_REPLICATE)
            placed[top:bottom, left:right] = probable > threshold
        return placed

    def _seen_from(
        self, seen: npt.NDArray[np.float32], other: Frame, *, size_wh: tuple[int, int], beyond: int
    ) -> npt.NDArray[np.float32]:
        width, height = SIZE_WH
        scale_x = other.width / size_wh[0] * width / self.width
        scale_y = other.height / size_wh[1] * height / self.height
        # From the centre of a pixel in the other frame to the place in this one.
        back = np.array(
            [
                [scale_x, 0, (other.left - self.left) * width / self.width + scale_x / 2 - 0.5],
                [0, scale_y, (other.top - self.top) * height / self.height + scale_y / 2 - 0.5],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(seen, back, size_wh, flags=flags, borderMode=beyond), np.float32)

    def point(self, point: Point) -> Point:
        """Returns a point of the picture in pixels of what `cut` returns at `SIZE_WH`."""
        x = (point.x - self.left) * SIZE_WH[0] / self.width
        y = (point.y - self.top) * SIZE_WH[1] / self.height
        return Point(x, y, point.positive)

    def box(self, box: Box) -> Box:
        """Returns a box of the picture in pixels of what `cut` returns at `SIZE_WH`."""
        first, last = self.point(Point(box.x_min, box.y_min)), self.point(Point(box.x_max, box.y_max))
        return Box(first.x, first.y, last.x, last.y)


def whole(picture_wh: tuple[int, int]) -> Frame:
    """Returns the smallest frame around a picture."""
    return fitted((0, 0, *picture_wh), scale=1.0)


def around(box: Box | None, points: Sequence[Point], picture_wh: tuple[int, int]) -> Frame:
    """Returns the nearer crop around a box and clicks, in pixels of the picture; all of it where there are neither."""
    xs = [point.x for point in points] + ([box.x_min, box.x_max] if box else [])
    ys = [point.y for point in points] + ([box.y_min, box.y_max] if box else [])
    if not xs:
        return whole(picture_wh)
    return fitted((min(xs), min(ys), max(xs), max(ys)), scale=1 + MARGIN, least_px=LEAST_SHARE * max(picture_wh))


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
