"""Converts masks to outlines with few vertices, which annotators need not tidy, and outlines to masks.

`line_fit` turns a border into straight lines; this module handles parts and holes, and the required accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backend.domain import Mask, Outlining
from backend.regions.line_fit import Track
from backend.regions.mask_borders import (
    Border,
    Integers,
    bridge_parts,
    cut_open,
    fill,
    remove_borders,
    split_specks,
    surrounding,
    trace,
)

Outline = npt.NDArray[np.float64]

MIN_IOU = 0.985
# If specks and filled holes are more than this share of the parts, the IoU is measured against the tidied mask.
MAX_LOST_SHARE = 0.01
# Each time lines have to be finer, their distance is multiplied by a factor between these, according to the error.
STRONGEST_TIGHTENING, TIGHTENING = 0.64, 0.8
# How many pixels per pixel of border an outline usually paints wrongly if lines are as coarse as the tolerance allows;
# and the smallest share of the tolerance with which fitting starts.
TYPICAL_ERROR, MIN_START = 0.08, 0.6
# A hole smaller than this share of its part is filled, a larger hole is cut open.
HOLE_SHARE = 0.01
# A mask in more parts is not a garment, and nobody tidies so many outlines: the smallest parts are left out.
MAX_PARTS = 40


def mask_to_outlines(mask: Mask, outlining: Outlining) -> list[Outline]:
    """Returns outlines `(N, 2)` in pixels, x before y, the largest first: one per part, without specks, 40 at most.

    Painted again, the outlines have an IoU of at least 0.985 with the mask (with the tidied mask if specks and filled
    holes are more than a hundredth of it). No place on the border is farther from the outlines than the tolerance, nor
    the other way round, and no outline touches or crosses itself.

    A polygon cannot have a hole. A small hole is filled. A hole of more than a hundredth of its part (between an arm
    and the body, in a bag's handle) is cut open by a slit one pixel wide: the hole does not show the garment, and an
    annotator can close a slit by deleting its vertices, but cannot cut a hole.

    Args:
        mask: `bool (H, W)`; an empty mask has no outline.
    """
    speck_px = outlining.speck_px(mask.size)
    height, width = mask.shape
    borders, unwanted = split_specks(trace(mask), speck_px=speck_px)
    parts, filled, large = _sort_holes(borders)
    unwanted += filled + parts[MAX_PARTS:]
    parts = parts[:MAX_PARTS]
    lost_px = sum(abs(border.area_px) for border in unwanted)
    if large:
        mask = remove_borders(mask, unwanted).copy()
        for hole, around in large:
            cut_open(mask, hole, around)
        borders, unwanted = split_specks(trace(mask), speck_px=speck_px)
        parts = [border for border in borders if border.area_px > 0][:MAX_PARTS]
    if outlining.parts == "joined" and len(parts) > 1:
        parts = sorted(trace(bridge_parts(remove_borders(mask, unwanted), parts)), key=lambda border: -border.area_px)
    if outlining.parts != "each":
        parts = parts[:1]
    return _outlines(parts, outlining.tolerance_px, size_wh=(width, height), lost_px=lost_px)


def joined_outline(mask: Mask, *, tolerance_px: float) -> Outline:
    """Returns one outline `(N, 2)` in pixels, x before y, around all parts of a mask `bool (H, W)` that is not empty.

    A YOLO label holds one outline per instance.
    """
    return mask_to_outlines(mask, Outlining(tolerance_px=tolerance_px, parts="joined"))[0]


def outline_to_mask(outline: Outline, *, size_wh: tuple[int, int]) -> Mask:
    """Returns `bool (H, W)`: the pixels whose centre lies inside the closed `outline` `(N, 2)`, pixels, x before y.

    An area that the outline surrounds twice, because it overlaps itself, is outside.

    Args:
        outline: all values are finite; it may leave the image.
    """
    mask = np.zeros(size_wh[::-1], bool)
    row, x = _crossings(outline, size_wh)
    fill(mask, row, x, inside=True)
    return mask


def decimals(size_wh: tuple[int, int]) -> int:
    """Returns how many decimals of a percentage resolve a twentieth of a pixel in an image of this size."""
    return max(int(np.ceil(np.log10(max(size_wh) / 5))), 0)


def _sort_holes(borders: Sequence[Border]) -> tuple[list[Border], list[Border], list[tuple[Border, Border]]]:
    """Returns the remaining parts, the small holes to fill, and the large holes, each with the part around it."""
    parts = [border for border in borders if border.area_px > 0]
    holes = [border for border in borders if border.area_px < 0]
    filled, large = [], []
    for hole, outer in zip(holes, surrounding(holes, parts), strict=True):
        around = min(outer, key=lambda part: part.area_px)
        if -hole.area_px >= HOLE_SHARE * around.area_px:
            large.append((hole, around))
        else:
            filled.append(hole)
    # A part inside a filled hole is not a part any more.
    parts = [part for part, outer in zip(parts, surrounding(parts, filled), strict=True) if not outer]
    return parts, filled, large


def _outlines(parts: list[Border], tolerance_px: float, *, size_wh: tuple[int, int], lost_px: int) -> list[Outline]:
    """Returns the outlines of the parts, each as coarse as the tolerance and their common IoU allow.

    Args:
        lost_px: number of pixels that are in the mask and not in the parts, or the other way round.
    """
    # Vertices are rounded to positions that the decimals of their percentages can express.
    grid_px = np.array(size_wh) / 100 / 10 ** decimals(size_wh)
    tracks = [Track(part, size_wh=size_wh, grid_px=grid_px) for part in parts]
    area_px = sum(part.area_px for part in parts)
    share = 1 - MIN_IOU
    if lost_px < MAX_LOST_SHARE * area_px:
        share -= lost_px / area_px
    # A thin part tolerates less: if fitting starts near the distance that it tolerates, it needs no second round.
    affordable = [share * part.area_px / track.count / TYPICAL_ERROR for part, track in zip(parts, tracks, strict=True)]
    line_px = [tolerance_px * min(max(start, MIN_START), 1.0) for start in affordable]
    outlines = [track.outline(line_px=px, tolerance_px=tolerance_px) for track, px in zip(tracks, line_px, strict=True)]
    wrong_px = [_wrong_pixels(outline, part, size_wh) for outline, part in zip(outlines, parts, strict=True)]
    while sum(wrong_px) > share * area_px:
        # At least one part exceeds the share that holds for all parts together.
        for i, part in enumerate(parts):
            if wrong_px[i] > share * part.area_px:
                line_px[i] *= min(max(share * part.area_px / wrong_px[i], STRONGEST_TIGHTENING), TIGHTENING)
                outlines[i] = tracks[i].outline(line_px=line_px[i], tolerance_px=tolerance_px)
                wrong_px[i] = _wrong_pixels(outlines[i], part, size_wh)
    return outlines


def _wrong_pixels(outline: Outline, part: Border, size_wh: tuple[int, int]) -> int:
    """Returns how many pixels the outline paints differently from the part."""
    row, x = _crossings(outline, size_wh)
    stride = size_wh[0] + 1
    # From left to right, pixels after an odd number of edges are in one of the two, else in both or none.
    keys = np.concatenate([row * stride + x, part.row * stride + part.x])
    keys.sort()
    return int((keys[1::2] - keys[0::2]).sum())


def _crossings(outline: Outline, size_wh: tuple[int, int]) -> tuple[Integers, Integers]:
    """Returns where the outline crosses the middles of rows: the row, and the first column beyond, at most W."""
    width, height = size_wh
    start, end = outline, np.concatenate([outline[1:], outline[:1]])
    rows = np.ceil(np.clip(np.stack([start[:, 1], end[:, 1]]) - 0.5, 0, height)).astype(np.int64)
    top = rows.min(axis=0)
    count = rows.max(axis=0) - top
    edge = np.repeat(np.arange(len(outline)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - top, count)
    (x, y), (dx, dy) = start[edge].T, (end - start)[edge].T
    return row, np.ceil(np.clip(x + (row + 0.5 - y) * dx / dy - 0.5, 0, width)).astype(np.int64)
