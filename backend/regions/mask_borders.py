"""Traces the borders of masks along the edges between pixels; removes, cuts and joins parts and holes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import shapely

from backend.domain import Mask

Integers = npt.NDArray[np.int64]

SPECK_SHARE = 0.02


@dataclass(frozen=True)
class Border:
    """One closed border, of a part or of a hole, as the upright pixel edges along it, `(N,)` each.

    Attributes:
        x: x of each edge, in pixels.
        row: row of the pixels beside the edge, which reaches from `row` to `row + 1`.
        up: True if the edge is walked upwards; the mask is on the right, so a part's border turns clockwise on screen.
        area_px: area that the border surrounds, in pixels; negative for a hole.
    """

    x: Integers
    row: Integers
    up: npt.NDArray[np.bool_]
    area_px: int

    def corners(self) -> Integers:
        """Returns the pixel corners along the border, `(M, 2)`, x before y, each one pixel from the next."""
        to_next = np.append(self.x[1:], self.x[0]) - self.x
        # Each upright edge gives its head, then a corner for each pixel of the level edge that follows.
        count = np.abs(to_next) + 1
        number = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        x = np.repeat(self.x, count) + number * np.repeat(np.sign(to_next), count)
        y = np.repeat(np.where(self.up, self.row, self.row + 1), count)
        return np.stack([x, y], axis=1)

    def ring(self) -> shapely.LinearRing:
        """Returns the border as a Shapely ring, in pixels, prepared for many distance measurements."""
        ring = shapely.LinearRing(self.corners())
        shapely.prepare(ring)
        return ring


def trace(mask: Mask) -> list[Border]:
    """Returns the borders of all parts and holes of a mask `bool (H, W)`; pixels that share only a corner are apart."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    # An empty column on both sides closes every row, so that all rows can be scanned as one.
    framed = np.zeros((height, width + 2), np.uint8)
    framed[:, 1:-1] = mask[top : top + height, left : left + width]
    flat = framed.ravel()
    at = np.flatnonzero(flat[1:] != flat[:-1])
    if not at.size:
        return []
    entering = flat[at + 1]
    row, x = np.divmod(at, width + 2)
    walk, begins = _cycles(_successors(row * (width + 1) + x, width + 1, entering))
    x, row, up = x[walk] + left, row[walk] + top, entering[walk].astype(bool)
    areas = np.add.reduceat(np.where(up, -x, x), begins).tolist()
    spans = zip(begins, [*begins[1:], len(walk)], areas, strict=True)
    return [Border(x[first:last], row[first:last], up[first:last], area) for first, last, area in spans]


def surrounding(inner: Sequence[Border], outer: Sequence[Border]) -> list[list[Border]]:
    """Returns, for each inner border, the outer borders that it lies inside; no two of all these may cross."""
    if not inner or not outer:
        return [[] for _ in inner]
    row, x = (np.concatenate([getattr(border, name) for border in outer]) for name in ("row", "x"))
    owner = np.repeat(np.arange(len(outer)), [len(border.row) for border in outer])
    order = np.lexsort((x, row))
    row, x, owner = row[order], x[order], owner[order]
    found = []
    for border in inner:
        # It is inside if an odd number of the outer border's edges are left of its first edge, on that edge's row.
        first, last = np.searchsorted(row, (border.row[0], border.row[0] + 1))
        last = first + np.searchsorted(x[first:last], border.x[0], side="right")
        number, count = np.unique(owner[first:last], return_counts=True)
        found.append([outer[i] for i in number[count % 2 == 1]])
    return found


def split_specks(borders: Sequence[Border], *, speck_px: float) -> tuple[list[Border], list[Border]]:
    """Splits borders into those that stay and those of specks and pinholes, both with the largest first.

    A part or hole is a speck or pinhole if it has less than `speck_px` pixels and less than a fiftieth of the largest
    part: the area of a speck on a saree may be half of a small blouse.
    """
    ordered = sorted(borders, key=lambda border: -abs(border.area_px))
    least = min(speck_px, SPECK_SHARE * ordered[0].area_px) if ordered else 0
    # Anything inside a speck or pinhole is smaller still, and so is among the rest.
    kept_count = sum(abs(border.area_px) >= least for border in ordered)
    return ordered[:kept_count], ordered[kept_count:]


def without_specks(mask: Mask, *, speck_px: float) -> Mask:
    """Returns the mask `bool (H, W)` without specks and pinholes, as `split_specks` defines them."""
    return remove_borders(mask, split_specks(trace(mask), speck_px=speck_px)[1])


def remove_borders(mask: Mask, unwanted: Sequence[Border]) -> Mask:
    """Returns the mask without the unwanted parts and holes, and without anything inside them."""
    if not unwanted:
        return mask
    changed = mask.copy()
    # The innermost first, so that the border around it paints it over.
    for border in sorted(unwanted, key=lambda border: abs(border.area_px)):
        fill(changed, border.row, border.x, inside=border.area_px < 0)
    return changed


def fill(mask: Mask, row: Integers, x: Integers, *, inside: bool) -> None:
    """Sets the pixels between the crossings `x` of each row, paired from left to right."""
    order = np.lexsort((x, row))
    ordered = x[order].tolist()
    for here, first, last in zip(row[order][0::2].tolist(), ordered[0::2], ordered[1::2], strict=True):
        mask[here, first:last] = inside


def cut_open(mask: Mask, hole: Border, around: Border) -> None:
    """Cuts a slit, one pixel wide, from a hole to the nearest place outside the part around it."""
    _draw(mask, shapely.shortest_line(around.ring(), hole.ring()), inside=False)


def bridge_parts(mask: Mask, borders: Sequence[Border]) -> Mask:
    """Joins the mask's parts by bridges, one pixel wide, each from the nearest part that is joined already."""
    last, *apart = [border.ring() for border in sorted(borders, key=lambda b: -b.area_px) if border.area_px > 0]
    joined = mask.copy()
    bridges = [shapely.shortest_line(last, ring) for ring in apart]
    while apart:
        nearest = min(range(len(apart)), key=lambda i: bridges[i].length)
        _draw(joined, bridges.pop(nearest), inside=True)
        last = apart.pop(nearest)
        new_bridges = [shapely.shortest_line(last, ring) for ring in apart]
        bridges = [min(pair, key=lambda line: line.length) for pair in zip(bridges, new_bridges, strict=True)]
    return joined


def _successors(keys: Integers, stride: int, entering: npt.NDArray[np.uint8]) -> list[int]:
    """Returns, for each upright edge, the next one along its border.

    Edges that enter the mask are walked up, others down. On a line between two rows, ends of upright edges pair up from
    left to right; a level edge joins each pair. Where four meet, the order of the middle two keeps the pixels apart.
    """
    ends = np.concatenate([keys, keys + stride]) * 2 + np.concatenate([entering, entering])
    order = np.argsort(ends, kind="stable")
    count = len(keys)
    edge = order % count
    # The head of an edge that enters the mask is its upper end.
    is_head = (order < count) == entering[edge].astype(bool)
    successors = np.empty(count, np.int64)
    successors[np.where(is_head[0::2], edge[0::2], edge[1::2])] = np.where(is_head[0::2], edge[1::2], edge[0::2])
    return successors.tolist()


def _cycles(successors: list[int]) -> tuple[list[int], list[int]]:
    """Returns the cycles of a permutation, one after the other, and where each begins."""
    seen = bytearray(len(successors))
    walk: list[int] = []
    begins: list[int] = []
    for start in range(len(successors)):
        if not seen[start]:
            begins.append(len(walk))
            edge = start
            while not seen[edge]:
                seen[edge] = 1
                walk.append(edge)
                edge = successors[edge]
    return walk, begins


def _draw(mask: Mask, line: shapely.LineString, *, inside: bool) -> None:
    """Sets the pixels along a line between two pixel corners, and all four around each end, so that it reaches both."""
    height, width = mask.shape
    start, end = np.rint(shapely.get_coordinates(line)).astype(int)
    for x, y in (start, end):
        mask[max(y - 1, 0) : y + 1, max(x - 1, 0) : x + 1] = inside
    limits = (width - 1, height - 1)
    first, last = np.minimum(start, limits).tolist(), np.minimum(end, limits).tolist()
    # Neighbouring pixels of the line must share an edge: pixels that share only a corner count as apart.
    cv2.line(mask.view(np.uint8), first, last, int(inside), lineType=cv2.LINE_4)
