"""Replaces a pixel border by few straight lines.

The border is cut into stretches and a line is fitted to each (total least squares); the vertices are where
neighbouring lines meet. So a slanting border gets no staircase, a corner keeps its tip, and nothing shrinks. The first
cuts are many (Douglas-Peucker); then neighbouring stretches are joined, the straightest first, as long as the joint
line stays near the border.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from backend.regions.mask_borders import Border, Integers

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_Scalar = TypeVar("_Scalar", bound=np.generic)

# Tolerance of the first cuts: just above 1 / sqrt(2), the height of a step of a slanting border.
ROUGH_PX = 0.75
TIGHTENING = 0.8
# If even lines this near to the border fail, the outline takes its vertices from the border's own corners.
MIN_LINE_PX = 0.25
# Lines must stay within this share of the allowed distance, because a vertex is never exactly on both of its lines.
LINE_SHARE = 0.9
BLUNT_SHARE = 0.95
# Lines whose directions differ by less than this, in radians, meet too far from the border.
PARALLEL = 0.15
# Offsets along the border from a vertex's cut, in pixels, among which the place nearest to the vertex is searched.
NEAR_OFFSETS = np.arange(-6, 7)
# How far touching corners are moved apart, in pixels.
SEPARATION_PX = 0.1


class Track:
    """A closed border as a row of corners, one pixel apart, with the sums from which lines are fitted.

    Args:
        size_wh: size of the image in pixels; no vertex leaves the image.
        grid_px: `(2,)`, pixels, x before y: vertices are rounded to multiples of it.
    """

    def __init__(self, border: Border, *, size_wh: tuple[int, int], grid_px: Floats) -> None:
        corners = border.corners()
        self.size_wh = size_wh
        self.grid_px = grid_px
        self.count = len(corners)
        # Coordinates start near 0, so that the sums of squares stay exact.
        self.origin = corners.min(axis=0)
        self.corners = (corners - self.origin).astype(np.float64)
        self.step = _after(self.corners) - self.corners
        x, y = (self.corners + self.step / 2).T
        # An edge of one pixel adds its second moment about its own middle, 1/12.
        terms = np.stack([x, y, x * x + np.abs(self.step[:, 0]) / 12, y * y + np.abs(self.step[:, 1]) / 12, x * y])
        # Twice around the border, so that a stretch may cross its start.
        self.sums = np.cumsum(np.concatenate([np.zeros((5, 1)), terms, terms], axis=1), axis=1)
        self.x, self.y = np.concatenate([self.corners, self.corners]).T.copy()
        self.cuts = self._first_cuts()

    def outline(self, *, line_px: float, tolerance_px: float) -> Floats:
        """Returns a closed outline `(N, 2)` in pixels, x before y, that neither touches nor crosses itself.

        Args:
            line_px: how far the border may be from the fitted lines: the farther, the coarser the outline.
            tolerance_px: how far the border may be from the outline, and the outline from the border.
        """
        allowed = np.full(self.count, LINE_SHARE * line_px)
        cuts, recheck = self.cuts, np.arange(self.count)
        while len(cuts) >= 3 and allowed.min() >= MIN_LINE_PX:
            cuts = self._join(cuts, np.isin(cuts, recheck), allowed)
            stretch = _Stretches(cuts, np.append(cuts[1:], cuts[0] + self.count))
            vertices = self._vertices(cuts, stretch, tolerance_px)
            failing = self._failing(cuts, stretch, vertices, tolerance_px)
            if not failing.any():
                if shapely.Polygon(vertices).is_valid:
                    return vertices + self.origin
                failing[:] = True
            # Only failing stretches are cut again.
            recheck = stretch.index[failing[stretch.number]] % self.count
            allowed[recheck] *= TIGHTENING
            cuts = np.union1d(cuts, self.cuts[np.isin(self.cuts, recheck)])
        return self._simplified_corners(tolerance_px) if line_px >= MIN_LINE_PX else self._pixel_outline()

    def _first_cuts(self) -> Integers:
        """Returns the first cuts, as indices of corners in order."""
        kept = cv2.approxPolyDP(self.corners.astype(np.int32)[:, None], ROUGH_PX, True)[:, 0].astype(np.int64)
        stride = int(self.corners[:, 0].max()) + 1
        keys = self.corners.astype(np.int64) @ np.array([1, stride])
        return np.flatnonzero(np.isin(keys, kept @ np.array([1, stride])))

    def _join(self, cuts: Integers, stale: Flags, allowed: Floats) -> Integers:
        """Joins stretches while each corner stays within its allowed distance, and returns the remaining cuts.

        Args:
            stale: `(len(cuts),)`: the cuts to check; the others are known to be needed while both neighbours stay.
        """
        twice = np.concatenate([allowed, allowed])
        cost: Floats = np.full(len(cuts), np.inf)
        while len(cuts) > 3:
            if stale.any():
                cost[stale] = self._costs(cuts, stale, twice)
            # Never removes two neighbours at once: a cut's cost holds only while its neighbours stay.
            removable = (cost <= 1) & (cost < _before(cost)) & (cost < _after(cost))
            if len(cuts) - np.count_nonzero(removable) < 3:
                removable = cost == cost.min()
            if not removable.any():
                break
            stale = (_before(removable) | _after(removable))[~removable]
            cuts, cost = cuts[~removable], cost[~removable]
        return cuts

    def _costs(self, cuts: Integers, chosen: Flags, allowed: Floats) -> Floats:
        """Returns each chosen cut's cost: the border's distance from the line without the cut, as a share of `allowed`.

        Args:
            allowed: `(2 * count,)`: each corner's allowed distance, twice around, in pixels.
        """
        first, last = _before(cuts), _after(cuts)
        first[0] -= self.count
        last[-1] += self.count
        first, last = first[chosen], last[chosen]
        ahead = (first < 0) * self.count
        stretch = _Stretches(first + ahead, last + ahead)
        (x, y, cos, sin), number = self._lines(stretch.first, stretch.last), stretch.number
        dx, dy = self.x[stretch.index] - x[number], self.y[stretch.index] - y[number]
        cos, sin = cos[number], sin[number]
        distance = np.abs(dx * sin - dy * cos)
        position = dx * cos + dy * sin
        # A stretch that runs out and back is not a line, however straight: no corner may lie beyond its two ends.
        ends = position[stretch.begins], position[stretch.begins + stretch.size - 1]
        overshoot = np.maximum(np.minimum(*ends)[number] - position, position - np.maximum(*ends)[number])
        costs = np.maximum.reduceat(np.maximum(distance, overshoot) / allowed[stretch.index], stretch.begins)
        # Of equal costs, the stretch that begins first wins.
        return costs + 1e-9 * first

    def _lines(self, first: Integers, last: Integers) -> tuple[Floats, Floats, Floats, Floats]:
        """Returns x and y of the middles, and of the unit directions, `(K,)` each, of lines fitted to the stretches."""
        x, y, xx, yy, xy = (self.sums[:, last] - self.sums[:, first]) / (last - first)
        angle = np.arctan2(2 * (xy - x * y), (xx - x * x) - (yy - y * y)) / 2
        return x, y, np.cos(angle), np.sin(angle)

    def _vertices(self, cuts: Integers, stretch: _Stretches, tolerance_px: float) -> Floats:
        """Returns a vertex per cut, `(K, 2)`: where the lines before and after it meet, but not far from the cut."""
        x, y, cos, sin = self._lines(stretch.first, stretch.last)
        middle, direction = np.stack([x, y], axis=1), np.stack([cos, sin], axis=1)
        before, direction_before = _before(middle), _before(direction)
        at = self.corners[cuts]
        # For nearly parallel lines: midway between the feet of the cut on both lines.
        vertices = (_project(at, before, direction_before) + _project(at, middle, direction)) / 2
        sine = _cross(direction_before, direction)
        meet = np.abs(sine) > np.sin(PARALLEL)
        reach = _cross((middle - before)[meet], direction[meet]) / sine[meet]
        far = before[meet] + reach[:, None] * direction_before[meet] - at[meet]
        # A tip that reaches farther than the tolerance is blunted.
        share = np.minimum(1, BLUNT_SHARE * tolerance_px / np.hypot(*far.T).clip(1e-9))
        vertices[meet] = at[meet] + far * share[:, None]
        rounded = np.rint((vertices + self.origin) / self.grid_px) * self.grid_px
        return np.clip(rounded, 0, self.size_wh) - self.origin

    def _failing(self, cuts: Integers, stretch: _Stretches, vertices: Floats, tolerance_px: float) -> Flags:
        """Returns which stretches are farther than the tolerance from their side of the outline, or the side from them.

        A side whose ends are near the border is near it throughout, because its stretch runs along all of it.
        """
        side = _after(vertices) - vertices
        length_2 = (side * side).sum(axis=1).clip(1e-9)
        points = np.stack([self.x, self.y], axis=1)[stretch.index] - vertices[stretch.number]
        direction = side[stretch.number]
        share = ((points * direction).sum(axis=1) / length_2[stretch.number]).clip(0, 1)
        offset = points - share[:, None] * direction
        farthest = np.maximum.reduceat(np.hypot(offset[:, 0], offset[:, 1]), stretch.begins)
        vertex_far = self._distance(vertices, cuts) > tolerance_px
        return (farthest > tolerance_px) | vertex_far | _after(vertex_far)

    def _simplified_corners(self, tolerance_px: float) -> Floats:
        """Returns some of the border's own corners (Douglas-Peucker), if no fitted lines stay close enough."""
        kept = cv2.approxPolyDP(self.corners.astype(np.int32)[:, None], tolerance_px, True)[:, 0].astype(np.float64)
        valid = len(kept) >= 3 and shapely.Polygon(kept).is_valid
        return kept + self.origin if valid else self._pixel_outline()

    def _distance(self, points: Floats, cuts: Integers) -> Floats:
        """Returns each point's distance from the border near the point's cut, `(K,)` in pixels."""
        near = (cuts[:, None] + NEAR_OFFSETS) % self.count
        # The border is sampled at its corners and at the middles between them.
        gaps = [points[:, None] - self.corners[near] - ahead * self.step[near] for ahead in (0, 0.5)]
        return np.min([np.hypot(gap[..., 0], gap[..., 1]).min(axis=1) for gap in gaps], axis=0)

    def _pixel_outline(self) -> Floats:
        """Returns the border itself, a vertex at each turn; vertices where it touches itself are moved apart."""
        step_before = _before(self.step)
        turns = (step_before != self.step).any(axis=1)
        corners, inwards = self.corners[turns], (self.step - step_before)[turns]
        _, which, count = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
        touching = count[which.ravel()] > 1
        return corners + self.origin + touching[:, None] * inwards * SEPARATION_PX


class _Stretches:
    """Stretches of a closed border, each with both its end corners, one stretch after the other.

    Attributes:
        first, last: `(K,)`: indices of the corners at the ends, `first < last`, counted twice around.
        index: `(M,)`: indices of all corners of all stretches, counted twice around.
        number: `(M,)`: the stretch to which each corner belongs.
        begins, size: `(K,)`: where in `index` each stretch begins, and how many corners it has.
    """

    def __init__(self, first: Integers, last: Integers) -> None:
        self.first, self.last = first, last
        self.size = last - first + 1
        self.begins = np.cumsum(self.size) - self.size
        self.number = np.repeat(np.arange(len(first)), self.size)
        self.index = np.arange(len(self.number)) + (first - self.begins)[self.number]


def _before(row: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """Returns each element's predecessor in a closed row."""
    return np.concatenate([row[-1:], row[:-1]])


def _after(row: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    return np.concatenate([row[1:], row[:1]])


def _project(points: Floats, middle: Floats, direction: Floats) -> Floats:
    return middle + ((points - middle) * direction).sum(axis=1)[:, None] * direction


def _cross(a: Floats, b: Floats) -> Floats:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
