"""A pixel border as few straight lines.

The border is cut into stretches and a line is fitted to each (total least squares); the vertices are where
neighbouring lines meet. So a slanting border gets no staircase, a corner keeps its tip, and nothing shrinks. Where to
cut is found from many cuts (Douglas-Peucker) by joining neighbouring stretches, those that lie straightest first, for
as long as their line stays near the border.
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

# Just above the height of a step of a slanting border, 1 / sqrt(2).
ROUGH_PX = 0.75
TIGHTEN = 0.8
# Where even lines this near to the border will not do, the outline follows the pixels.
LEAST_LINE_PX = 0.25
# Lines are fitted a little nearer than they need be: vertices are never quite where both lines would have them.
LINE_SHARE = 0.9
BLUNT_SHARE = 0.95
# Lines whose directions differ by less than this, in radians, meet too far off.
PARALLEL = 0.15
# How far along the border, in pixels, its nearest place to a vertex is looked for.
NEAR = np.arange(-6, 7)
# How far corners that touch are moved apart, in pixels.
APART_PX = 0.1


class Track:
    """A closed border as a row of corners, one pixel apart, with the sums that lines are fitted from.

    Args:
        size_wh: of the image, which no vertex leaves.
        grid_px: `(2,)`, pixels, x before y: vertices are rounded to multiples of it.
    """

    def __init__(self, border: Border, *, size_wh: tuple[int, int], grid_px: Floats) -> None:
        corners = border.corners()
        self.size_wh = size_wh
        self.grid_px = grid_px
        self.count = len(corners)
        # Sums of squares stay exact near the origin.
        self.origin = corners.min(axis=0)
        self.corners = (corners - self.origin).astype(np.float64)
        self.step = _after(self.corners) - self.corners
        x, y = (self.corners + self.step / 2).T
        # An edge of one pixel has a twelfth of second moment about its own middle.
        terms = np.stack([x, y, x * x + np.abs(self.step[:, 0]) / 12, y * y + np.abs(self.step[:, 1]) / 12, x * y])
        # Twice around, so that a stretch may pass the beginning.
        self.sums = np.cumsum(np.concatenate([np.zeros((5, 1)), terms, terms], axis=1), axis=1)
        self.x, self.y = np.concatenate([self.corners, self.corners]).T.copy()
        self.cuts = self._first_cuts()

    def outline(self, *, line_px: float, tolerance_px: float) -> Floats:
        """A closed outline `(N, 2)` in pixels, x before y, that does not meet itself.

        Args:
            line_px: how far the border may be from the fitted lines: what makes the outline coarse.
            tolerance_px: how far the border may be from the outline, and the outline from the border.
        """
        allowed = np.full(self.count, LINE_SHARE * line_px)
        cuts, again = self.cuts, np.arange(self.count)
        while len(cuts) >= 3 and allowed.min() >= LEAST_LINE_PX:
            cuts = self._joined(cuts, np.isin(cuts, again), allowed)
            stretch = _Stretches(cuts, np.append(cuts[1:], cuts[0] + self.count))
            vertices = self._vertices(cuts, stretch, tolerance_px)
            failing = self._failing(cuts, stretch, vertices, tolerance_px)
            if not failing.any():
                if shapely.Polygon(vertices).is_valid:
                    return vertices + self.origin
                failing[:] = True
            # Only what fails is cut anew.
            again = stretch.index[failing[stretch.number]] % self.count
            allowed[again] *= TIGHTEN
            cuts = np.union1d(cuts, self.cuts[np.isin(self.cuts, again)])
        return self._thinned(tolerance_px) if line_px >= LEAST_LINE_PX else self._pixels()

    def _first_cuts(self) -> Integers:
        """Indices of corners, in order."""
        kept = cv2.approxPolyDP(self.corners.astype(np.int32)[:, None], ROUGH_PX, True)[:, 0].astype(np.int64)
        stride = int(self.corners[:, 0].max()) + 1
        keys = self.corners.astype(np.int64) @ np.array([1, stride])
        return np.flatnonzero(np.isin(keys, kept @ np.array([1, stride])))

    def _joined(self, cuts: Integers, stale: Flags, allowed: Floats) -> Integers:
        """The cuts that remain where stretches are joined for as long as each corner is as near as it is allowed.

        Args:
            stale: `(len(cuts),)`: which may go; the others are known to be needed.
        """
        twice = np.concatenate([allowed, allowed])
        cost: Floats = np.full(len(cuts), np.inf)
        while len(cuts) > 3:
            if stale.any():
                cost[stale] = self._costs(cuts, stale, twice)
            # No two neighbours at once: their costs hold for one alone.
            goes = (cost <= 1) & (cost < _before(cost)) & (cost < _after(cost))
            if len(cuts) - np.count_nonzero(goes) < 3:
                goes = cost == cost.min()
            if not goes.any():
                break
            stale = (_before(goes) | _after(goes))[~goes]
            cuts, cost = cuts[~goes], cost[~goes]
        return cuts

    def _costs(self, cuts: Integers, chosen: Flags, allowed: Floats) -> Floats:
        """For each chosen cut: by how much the border would leave the line without it, as a share of what is allowed.

        Args:
            allowed: `(2 * count,)`, pixels.
        """
        first, last = _before(cuts), _after(cuts)
        first[0] -= self.count
        last[-1] += self.count
        first, last = first[chosen], last[chosen]
        ahead = (first < 0) * self.count
        stretch = _Stretches(first + ahead, last + ahead)
        middle, along = self._lines(stretch.first, stretch.last)
        (cos, sin), (x, y), number = along.T, middle.T, stretch.number
        dx, dy = self.x[stretch.index] - x[number], self.y[stretch.index] - y[number]
        cos, sin = cos[number], sin[number]
        off = np.abs(dx * sin - dy * cos)
        forth = dx * cos + dy * sin
        # A stretch that runs out and back is no line, however straight: it may not pass its own ends.
        ends = forth[stretch.begins], forth[stretch.begins + stretch.size - 1]
        past = np.maximum(np.minimum(*ends)[number] - forth, forth - np.maximum(*ends)[number])
        costs = np.maximum.reduceat(np.maximum(off, past) / allowed[stretch.index], stretch.begins)
        # Of equals, the one that begins first.
        return costs + 1e-9 * first

    def _lines(self, first: Integers, last: Integers) -> tuple[Floats, Floats]:
        """Middle and unit direction, `(K, 2)` each, of the lines nearest to the stretches."""
        x, y, xx, yy, xy = (self.sums[:, last] - self.sums[:, first]) / (last - first)
        angle = np.arctan2(2 * (xy - x * y), (xx - x * x) - (yy - y * y)) / 2
        return np.stack([x, y], axis=1), np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def _vertices(self, cuts: Integers, stretch: _Stretches, tolerance_px: float) -> Floats:
        """Where, at each cut, the line that ends meets the one that begins, `(K, 2)`; not far from the cut."""
        middle, along = self._lines(stretch.first, stretch.last)
        before, towards = _before(middle), _before(along)
        at = self.corners[cuts]
        # Between the cut's feet on both lines: where lines are nearly parallel.
        vertices = (_foot(at, before, towards) + _foot(at, middle, along)) / 2
        turn = _cross(towards, along)
        meet = np.abs(turn) > np.sin(PARALLEL)
        reach = _cross((middle - before)[meet], along[meet]) / turn[meet]
        far = before[meet] + reach[:, None] * towards[meet] - at[meet]
        # A tip that is sharper than the tolerance allows is blunted.
        share = np.minimum(1, BLUNT_SHARE * tolerance_px / np.hypot(*far.T).clip(1e-9))
        vertices[meet] = at[meet] + far * share[:, None]
        rounded = np.rint((vertices + self.origin) / self.grid_px) * self.grid_px
        return np.clip(rounded, 0, self.size_wh) - self.origin

    def _failing(self, cuts: Integers, stretch: _Stretches, vertices: Floats, tolerance_px: float) -> Flags:
        """Which stretches are farther from their side of the outline than the tolerance, or it from them.

        A side whose ends are near the border is near it throughout: the stretch passes over all of it.
        """
        side = _after(vertices) - vertices
        length_2 = (side * side).sum(axis=1).clip(1e-9)
        points = np.stack([self.x, self.y], axis=1)[stretch.index] - vertices[stretch.number]
        along = side[stretch.number]
        share = ((points * along).sum(axis=1) / length_2[stretch.number]).clip(0, 1)
        off = points - share[:, None] * along
        away = np.maximum.reduceat(np.hypot(off[:, 0], off[:, 1]), stretch.begins)
        astray = self._distance(vertices, cuts) > tolerance_px
        return (away > tolerance_px) | astray | _after(astray)

    def _thinned(self, tolerance_px: float) -> Floats:
        """Some of the border's own corners, by Douglas and Peucker: where no lines can be fitted that near."""
        kept = cv2.approxPolyDP(self.corners.astype(np.int32)[:, None], tolerance_px, True)[:, 0].astype(np.float64)
        valid = len(kept) >= 3 and shapely.Polygon(kept).is_valid
        return kept + self.origin if valid else self._pixels()

    def _distance(self, points: Floats, cuts: Integers) -> Floats:
        """From each point to the border's nearest place, of those near its cut, `(K,)` in pixels."""
        near = (cuts[:, None] + NEAR) % self.count
        # Corners and the middles between them.
        gaps = [points[:, None] - self.corners[near] - ahead * self.step[near] for ahead in (0, 0.5)]
        return np.min([np.hypot(gap[..., 0], gap[..., 1]).min(axis=1) for gap in gaps], axis=0)

    def _pixels(self) -> Floats:
        """The border itself, a vertex where it turns; where it touches itself at a corner, moved apart."""
        comes = _before(self.step)
        turns = (comes != self.step).any(axis=1)
        corners, inwards = self.corners[turns], (self.step - comes)[turns]
        _, which, count = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
        touching = count[which.ravel()] > 1
        return corners + self.origin + touching[:, None] * inwards * APART_PX


class _Stretches:
    """Stretches of a closed border with both their end corners, one stretch behind the other.

    Attributes:
        first, last: `(K,)`: the corners at the ends, `first < last`, counted twice around.
        index: `(M,)`: all corners, counted twice around.
        number: `(M,)`: of which stretch each is.
        begins, size: `(K,)`: where in `index` each stretch begins, and how many corners it has.
    """

    def __init__(self, first: Integers, last: Integers) -> None:
        self.first, self.last = first, last
        self.size = last - first + 1
        self.begins = np.cumsum(self.size) - self.size
        self.number = np.repeat(np.arange(len(first)), self.size)
        self.index = np.arange(len(self.number)) + (first - self.begins)[self.number]


def _before(row: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    """Each one's neighbour before it around a closed row."""
    return np.concatenate([row[-1:], row[:-1]])


def _after(row: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
    return np.concatenate([row[1:], row[:1]])


def _foot(points: Floats, middle: Floats, along: Floats) -> Floats:
    return middle + ((points - middle) * along).sum(axis=1)[:, None] * along


def _cross(one: Floats, other: Floats) -> Floats:
    return one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]
