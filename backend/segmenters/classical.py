"""A segmenter without weights: regions of like colour around clicks and in boxes, chosen by what garments look like."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Box, Mask, Photo, Pixels, Prompt, Segment
from backend.errors import OverloadedError, PromptError
from backend.segmenters.region_growing import (
    LARGEST_SHARE,
    SEED_RADIUS_PX,
    Seeds,
    View,
    component,
    grow,
    grow_in_box,
    view,
    with_other_parts,
)

WORK_SIDE_PX = 400
# A box is seen with this share of its longer side around it, at this size.
BOX_MARGIN = 0.3
BOX_SIDE_PX = 256
KEPT_SHARE = 0.6
# A later click may always add this share of the picture: the first may have been on something small.
LATER_SHARE = 0.03
LARGEST_TAKEN_SHARE = 0.7
# How far, in cells, the last cut moves the border of what is found, and how deep inside it is certain.
BAND_PX, CORE_PX = 10, 4
SPECK_SHARE = 0.08
# Who has waited this long for a core looks elsewhere by now.
PATIENCE_S, RETRY_S = 10.0, 2


class ClassicalSegmenter:
    """Works anywhere at once; a model with weights sees far more. Deterministic, whoever else it works for."""

    name = "classical"

    def __init__(self) -> None:
        # As many at once as there are cores: more take Python's one lock from each other, and from whoever has to
        # answer a webhook, for seconds in all.
        self._turns = threading.Semaphore(os.cpu_count() or 1)

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """At most one mask `bool (H, W)`: what the positive clicks and boxes mean, without what the negative ones do.

        Raises:
            PromptError: there is neither a positive click nor a box.
            OverloadedError: others' prompts took all cores for too long.
        """
        if not prompt.boxes and not any(point.positive for point in prompt.points):
            raise PromptError("Click on the garment first; Alt-click only takes away from it.")
        positive, negative = (
            np.array([(p.x, p.y) for p in prompt.points if p.positive is sign], np.float64).reshape(-1, 2)
            for sign in (True, False)
        )
        with self._turn():
            if prompt.boxes:
                mask, score = _in_boxes(image.pixels, prompt.boxes, positive, negative)
            else:
                mask, score = _around_clicks(image.pixels, positive, negative)
        return [Segment(mask=mask, score=score)] if mask.any() else []

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=PATIENCE_S):
            raise OverloadedError(f"Too much is asked at once. Try again in {RETRY_S} seconds.", retry_after_s=RETRY_S)
        try:
            yield
        finally:
            self._turns.release()


@dataclass(frozen=True)
class _Crop:
    """A part of the picture, made smaller.

    Attributes:
        left_top_xy: its corner in the picture, in pixels.
        size_wh: its size in the picture, in pixels.
    """

    pixels: Pixels
    left_top_xy: tuple[int, int]
    size_wh: tuple[int, int]

    @property
    def scale_xy(self) -> npt.NDArray[np.float64]:
        """Cells of the crop for one pixel of the picture."""
        height, width = self.pixels.shape[:2]
        return np.array([width, height]) / self.size_wh

    def cells(self, points: npt.NDArray[np.float64]) -> Seeds:
        """The cells, `(N, 2)` x before y, under points of the picture; points beyond the crop at its border."""
        height, width = self.pixels.shape[:2]
        cells = np.floor((points - self.left_top_xy) * self.scale_xy)
        return np.clip(cells, 0, (width - 1, height - 1)).astype(np.intp)

    def holds(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Which points `(N, 2)` of the picture lie in the crop."""
        offset = points - self.left_top_xy
        return np.asarray(((offset >= 0) & (offset <= self.size_wh)).all(axis=1))

    def enlarged(self, region: Mask, shape: tuple[int, ...]) -> Mask:
        """The region of the crop as a mask of the picture."""
        # Interpolated: the border of the small mask is a slope in the large one, cut at its middle.
        large = cv2.resize(region.astype(np.float32), self.size_wh, interpolation=cv2.INTER_LINEAR) >= 0.5
        whole = np.zeros(shape[:2], bool)
        (left, top), (width, height) = self.left_top_xy, self.size_wh
        whole[top : top + height, left : left + width] = large
        return whole


def _crop(pixels: Pixels, *, left_top_xy: tuple[int, int], size_wh: tuple[int, int], side_px: int) -> _Crop:
    (left, top), (width, height) = left_top_xy, size_wh
    scale = min(1.0, side_px / max(size_wh))
    small_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    return _Crop(cv2.resize(part, small_wh, interpolation=cv2.INTER_AREA), left_top_xy, size_wh)


def _around_clicks(
    pixels: Pixels, positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]
) -> tuple[Mask, float]:
    height, width = pixels.shape[:2]
    crop = _crop(pixels, left_top_xy=(0, 0), size_wh=(width, height), side_px=WORK_SIDE_PX)
    seen, wanted, unwanted = view(crop.pixels), crop.cells(positive), crop.cells(negative)
    region = np.zeros(crop.pixels.shape[:2], bool)
    scores: list[float] = []
    for seed in wanted:
        if not region[seed[1], seed[0]]:
            # A later click adds what was missed: no more than there is already, or it has run into the background.
            largest_share = max(float(region.mean()), LATER_SHARE) if scores else LARGEST_SHARE
            part, score = _around_click(seen, seed, unwanted, largest_share=largest_share)
            region |= part
            scores.append(score)
    region = _without(seen, region, wanted, unwanted)
    region = _recut(seen, crop.pixels, region, wanted, unwanted)
    return crop.enlarged(_tidy(region, wanted), pixels.shape), float(np.mean(scores))


def _around_click(seen: View, seed: Seeds, unwanted: Seeds, *, largest_share: float) -> tuple[Mask, float]:
    """The region that one click means, with its score; a small disk where nothing ends anywhere."""
    grown = grow(seen, seed, unwanted[:0], largest_share=largest_share)
    if grown is None:
        return _disk(seen, seed), 0.05
    if grown.region[unwanted[:, 1], unwanted[:, 0]].any():
        # A smaller region that leaves the negative clicks out, unless it leaves nearly everything out.
        smaller = grow(seen, seed, unwanted, largest_share=largest_share)
        if smaller is not None and smaller.region.sum() > KEPT_SHARE * grown.region.sum():
            grown = smaller
    return with_other_parts(seen, grown, unwanted), grown.score


def _recut(seen: View, pixels: Pixels, region: Mask, wanted: Seeds, unwanted: Seeds) -> Mask:
    """The region with its border where the clicks' colours part: it moves within a band along the border only."""
    small = region.astype(np.uint8)
    band = cv2.dilate(small, np.ones((2 * BAND_PX + 1,) * 2, np.uint8)) > 0
    core = cv2.erode(small, np.ones((2 * CORE_PX + 1,) * 2, np.uint8)) > 0
    clicked = _disks(seen, wanted)
    # Only what is near: quicker, and the colours that it learns are those on either side of this border.
    near = _bounds(band | clicked, margin_px=BAND_PX)
    cut = region.copy()
    never = _disks(seen, unwanted)
    cut[near] = _cut(
        np.ascontiguousarray(pixels[near]),
        (band | clicked)[near],
        (region | clicked)[near],
        (core | clicked)[near],
        never[near],
    )
    return cut


def _bounds(region: Mask, *, margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of a `region` that is not empty, with a margin where the picture has one."""
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return (
        slice(max(int(rows[0]) - margin_px, 0), int(rows[-1]) + margin_px + 1),
        slice(max(int(columns[0]) - margin_px, 0), int(columns[-1]) + margin_px + 1),
    )


def _in_boxes(
    pixels: Pixels, boxes: tuple[Box, ...], positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]
) -> tuple[Mask, float]:
    mask = np.zeros(pixels.shape[:2], bool)
    scores = []
    for box in boxes:
        found, score = _in_box(pixels, box, positive, negative)
        mask |= found
        scores.append(score)
    return mask, float(np.mean(scores))


def _in_box(
    pixels: Pixels, box: Box, positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]
) -> tuple[Mask, float]:
    crop = _crop_around(pixels, box)
    first, last = crop.cells(np.array([[box.x_min, box.y_min], [np.ceil(box.x_max) - 1, np.ceil(box.y_max) - 1]]))
    inside = np.zeros(crop.pixels.shape[:2], bool)
    inside[first[1] : last[1] + 1, first[0] : last[0] + 1] = True
    wanted, unwanted = (crop.cells(points[crop.holds(points)]) for points in (positive, negative))
    wanted = wanted[inside[wanted[:, 1], wanted[:, 0]]]
    seen = view(crop.pixels)
    grown = grow_in_box(seen, inside, wanted, unwanted)
    region = inside if grown is None else grown.region
    region = _cut(crop.pixels, inside, region, _disks(seen, wanted) & inside, _disks(seen, unwanted))
    region = _without(seen, region, wanted, unwanted)
    return crop.enlarged(region, pixels.shape), 0.05 if grown is None else grown.score


def _crop_around(pixels: Pixels, box: Box) -> _Crop:
    height, width = pixels.shape[:2]
    margin = BOX_MARGIN * max(box.x_max - box.x_min, box.y_max - box.y_min)
    left, top = int(min(max(box.x_min - margin, 0), width - 1)), int(min(max(box.y_min - margin, 0), height - 1))
    right, bottom = int(min(np.ceil(box.x_max + margin), width)), int(min(np.ceil(box.y_max + margin), height))
    size_wh = max(right - left, 1), max(bottom - top, 1)
    return _crop(pixels, left_top_xy=(left, top), size_wh=size_wh, side_px=BOX_SIDE_PX)


def _cut(pixels: Pixels, inside: Mask, region: Mask, sure: Mask, never: Mask) -> Mask:
    """GrabCut (Rother et al. 2004) begun at `region`; what it leaves nearly empty stays as it was."""
    state = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    state[inside], state[region] = cv2.GC_PR_BGD, cv2.GC_PR_FGD
    state[sure], state[never] = cv2.GC_FGD, cv2.GC_BGD
    kept = (state == cv2.GC_PR_FGD) | (state == cv2.GC_FGD)
    # Its mixture models have five colours each, and need that many pixels at the least.
    if kept.sum() < 16 or (~kept).sum() < 16:
        return kept
    # They start at random: the same start for the same question.
    cv2.setRNGSeed(0)
    cv2.grabCut(pixels, state, None, np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_MASK)
    found = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return found if found.sum() > 0.05 * inside.sum() else kept


def _without(seen: View, region: Mask, wanted: Seeds, unwanted: Seeds) -> Mask:
    for seed in unwanted:
        if region[seed[1], seed[0]]:
            region = region & ~_taken_away(seen, seed, wanted, region)
    return region


def _taken_away(seen: View, seed: Seeds, wanted: Seeds, region: Mask) -> Mask:
    """What a negative click takes from `region`: the region that it means by itself, unless that is nearly everything.

    Else what around it is more like it than like the nearest positive click, no further than three fifths of the way
    to that click, and at least a small disk.
    """
    other = grow(seen, seed, wanted)
    if other is not None and (other.region & region).sum() < LARGEST_TAKEN_SHARE * region.sum():
        return other.region | _disk(seen, seed)
    away = _distance_to(seed, region.shape)
    near = [(float(away[y, x]), int(x), int(y)) for x, y in wanted]
    reach = 0.6 * min(near)[0] if near else 0.5 * float(np.sqrt(region.sum()))
    disk = away <= max(0.15 * reach, SEED_RADIUS_PX)
    if not near:
        return disk | ((away < reach) & region)
    _, x, y = min(near)
    lab = seen.fine
    unlike = np.linalg.norm(lab - lab[seed[1], seed[0]], axis=2) - np.linalg.norm(lab - lab[y, x], axis=2)
    part = (unlike < 0) & region & (away < reach)
    return disk | component(part, seed) if part[seed[1], seed[0]] else disk


def _tidy(region: Mask, wanted: Seeds) -> Mask:
    """Smoothed; parts that hold no click are kept only where they are not much smaller than the largest."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    smooth = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel)
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(smooth, connectivity=4)
    if count <= 1:
        return region
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = {int(number) + 1 for number in np.flatnonzero(areas >= SPECK_SHARE * areas.max())}
    clicked = {int(numbers[y, x]) for x, y in wanted} - {0}
    return np.isin(numbers, list(kept | clicked))


def _disks(seen: View, seeds: Seeds) -> Mask:
    disks = np.zeros(seen.edges.shape, bool)
    for seed in seeds:
        disks |= _disk(seen, seed)
    return disks


def _disk(seen: View, seed: Seeds) -> Mask:
    return np.asarray(_distance_to(seed, seen.edges.shape) <= SEED_RADIUS_PX)


def _distance_to(seed: Seeds, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    rows, columns = np.indices(shape[:2])
    return np.asarray(np.hypot(columns - seed[0], rows - seed[1]))
