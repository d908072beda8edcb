"""A segmenter without weights: of the regions of similar colour at clicks and boxes, it takes the most garment-like."""

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
    add_other_parts,
    connected_part,
    grow,
    grow_in_box,
    make_view,
)

WORK_SIDE_PX = 400
# A box is cropped with a margin of this share of its longer side, and the crop is scaled down to this size.
BOX_MARGIN = 0.3
BOX_SIDE_PX = 256
MIN_KEPT_SHARE = 0.6
# A later click may always add this share of the picture: the first click may have hit something small.
LATER_CLICK_SHARE = 0.03
MAX_REMOVED_SHARE = 0.7
# In cells: how far the last cut may move the region's border, and at which depth inside the region is certain.
BAND_PX, CORE_PX = 10, 4
SPECK_SHARE = 0.08
# How long a prompt waits for a core (its annotator has moved on by then), and the pause before a retry.
TURN_TIMEOUT_S, RETRY_AFTER_S = 10.0, 2


class ClassicalSegmenter:
    """Needs no weights and no loading, but a model with weights is far better. Deterministic, also under load."""

    name = "classical"

    def __init__(self) -> None:
        # One prompt per core: more would take Python's global lock from each other, and from the thread that answers a
        # webhook, for seconds in all.
        self._turns = threading.Semaphore(os.cpu_count() or 1)

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """Returns at most one mask `bool (H, W)`: the region of positive clicks and boxes minus that of negative ones.

        Raises:
            PromptError: there is neither a positive click nor a box.
            OverloadedError: other prompts occupied all cores for too long.
        """
        if not prompt.boxes and not any(point.positive for point in prompt.points):
            raise PromptError("Click on the garment first. Alt-click only removes parts of it.")
        positive, negative = (
            np.array([(p.x, p.y) for p in prompt.points if p.positive is sign], np.float64).reshape(-1, 2)
            for sign in (True, False)
        )
        with self._turn():
            if prompt.boxes:
                mask, score = _segment_boxes(image.pixels, prompt.boxes, positive, negative)
            else:
                mask, score = _segment_clicks(image.pixels, positive, negative)
        return [Segment(mask=mask, score=score)] if mask.any() else []

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=TURN_TIMEOUT_S):
            raise OverloadedError(
                f"Too many requests at once. Try again in {RETRY_AFTER_S} seconds.", retry_after_s=RETRY_AFTER_S
            )
        try:
            yield
        finally:
            self._turns.release()


@dataclass(frozen=True)
class _Crop:
    """A part of the picture, scaled down; its pixels are called cells.

    Attributes:
        left_top_xy: position of its upper left corner in the picture, in pixels.
        size_wh: its size in the picture, in pixels.
    """

    pixels: Pixels
    left_top_xy: tuple[int, int]
    size_wh: tuple[int, int]

    @property
    def scale_xy(self) -> npt.NDArray[np.float64]:
        """Cells of the crop per pixel of the picture, `(2,)`."""
        height, width = self.pixels.shape[:2]
        return np.array([width, height]) / self.size_wh

    def cells(self, points: npt.NDArray[np.float64]) -> Seeds:
        """Returns the cells, `(N, 2)` x before y, under points of the picture; clips them to the crop."""
        height, width = self.pixels.shape[:2]
        cells = np.floor((points - self.left_top_xy) * self.scale_xy)
        return np.clip(cells, 0, (width - 1, height - 1)).astype(np.intp)

    def contains(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Returns which points `(N, 2)` of the picture lie in the crop."""
        offset = points - self.left_top_xy
        return np.asarray(((offset >= 0) & (offset <= self.size_wh)).all(axis=1))

    def to_picture(self, region: Mask, shape: tuple[int, ...]) -> Mask:
        """Returns the region of the crop as a mask of the picture."""
        # Interpolation turns the small mask's border into a slope, which is cut at its middle.
        large = cv2.resize(region.astype(np.float32), self.size_wh, interpolation=cv2.INTER_LINEAR) >= 0.5
        mask = np.zeros(shape[:2], bool)
        (left, top), (width, height) = self.left_top_xy, self.size_wh
        mask[top : top + height, left : left + width] = large
        return mask


def _crop(pixels: Pixels, *, left_top_xy: tuple[int, int], size_wh: tuple[int, int], side_px: int) -> _Crop:
    (left, top), (width, height) = left_top_xy, size_wh
    scale = min(1.0, side_px / max(size_wh))
    small_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    part = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    return _Crop(cv2.resize(part, small_wh, interpolation=cv2.INTER_AREA), left_top_xy, size_wh)


def _segment_clicks(
    pixels: Pixels, positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]
) -> tuple[Mask, float]:
    height, width = pixels.shape[:2]
    crop = _crop(pixels, left_top_xy=(0, 0), size_wh=(width, height), side_px=WORK_SIDE_PX)
    view, wanted, unwanted = make_view(crop.pixels), crop.cells(positive), crop.cells(negative)
    region = np.zeros(crop.pixels.shape[:2], bool)
    scores: list[float] = []
    for seed in wanted:
        if not region[seed[1], seed[0]]:
            # A later click adds a missed part; a part larger than the region so far has run into the background.
            largest_share = max(float(region.mean()), LATER_CLICK_SHARE) if scores else LARGEST_SHARE
            part, score = _segment_click(view, seed, unwanted, largest_share=largest_share)
            region |= part
            scores.append(score)
    region = _remove_negative_clicks(view, region, wanted, unwanted)
    region = _refine_border(view, crop.pixels, region, wanted, unwanted)
    return crop.to_picture(_smooth(region, wanted), pixels.shape), float(np.mean(scores))


def _segment_click(view: View, seed: Seeds, unwanted: Seeds, *, largest_share: float) -> tuple[Mask, float]:
    """Returns the region that one click means, and its score; a small disk if no region ends anywhere."""
    grown = grow(view, seed, unwanted[:0], largest_share=largest_share)
    if grown is None:
        return _disk(view, seed), 0.05
    if grown.region[unwanted[:, 1], unwanted[:, 0]].any():
        # A smaller region that leaves the negative clicks out is better, unless it loses too much.
        smaller = grow(view, seed, unwanted, largest_share=largest_share)
        if smaller is not None and smaller.region.sum() > MIN_KEPT_SHARE * grown.region.sum():
            grown = smaller
    return add_other_parts(view, grown, unwanted), grown.score


def _refine_border(view: View, pixels: Pixels, region: Mask, wanted: Seeds, unwanted: Seeds) -> Mask:
    """Returns the region with its border moved, within a band, to where the colours on its two sides part."""
    small = region.astype(np.uint8)
    band = cv2.dilate(small, np.ones((2 * BAND_PX + 1,) * 2, np.uint8)) > 0
    core = cv2.erode(small, np.ones((2 * CORE_PX + 1,) * 2, np.uint8)) > 0
    clicked = _disks(view, wanted)
    # Only the surroundings of the region: this is quicker, and the cut learns the colours on either side of its border.
    near = _bounds(band | clicked, margin_px=BAND_PX)
    cut = region.copy()
    excluded = _disks(view, unwanted)
    cut[near] = _grab_cut(
        np.ascontiguousarray(pixels[near]),
        (band | clicked)[near],
        (region | clicked)[near],
        (core | clicked)[near],
        excluded[near],
    )
    return cut


def _bounds(region: Mask, *, margin_px: int) -> tuple[slice, slice]:
    """Returns the rows and columns of a `region` that is not empty, with a margin as far as the picture reaches."""
    left, top, width, height = cv2.boundingRect(region.astype(np.uint8))
    rows = slice(max(top - margin_px, 0), top + height + margin_px)
    return rows, slice(max(left - margin_px, 0), left + width + margin_px)


def _segment_boxes(
    pixels: Pixels, boxes: tuple[Box, ...], positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]
) -> tuple[Mask, float]:
    mask = np.zeros(pixels.shape[:2], bool)
    scores = []
    for box in boxes:
        box_mask, score = _segment_box(pixels, box, positive, negative)
        mask |= box_mask
        scores.append(score)
    return mask, float(np.mean(scores))


def _segment_box(
    pixels: Pixels, box: Box, positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]
) -> tuple[Mask, float]:
    crop = _crop_around(pixels, box)
    first, last = crop.cells(np.array([[box.x_min, box.y_min], [np.ceil(box.x_max) - 1, np.ceil(box.y_max) - 1]]))
    inside = np.zeros(crop.pixels.shape[:2], bool)
    inside[first[1] : last[1] + 1, first[0] : last[0] + 1] = True
    wanted, unwanted = (crop.cells(points[crop.contains(points)]) for points in (positive, negative))
    wanted = wanted[inside[wanted[:, 1], wanted[:, 0]]]
    view = make_view(crop.pixels)
    grown = grow_in_box(view, inside, wanted, unwanted)
    region = inside if grown is None else grown.region
    region = _grab_cut(crop.pixels, inside, region, _disks(view, wanted) & inside, _disks(view, unwanted))
    region = _remove_negative_clicks(view, region, wanted, unwanted)
    return crop.to_picture(region, pixels.shape), 0.05 if grown is None else grown.score


def _crop_around(pixels: Pixels, box: Box) -> _Crop:
    height, width = pixels.shape[:2]
    margin = BOX_MARGIN * max(box.x_max - box.x_min, box.y_max - box.y_min)
    left, top = int(min(max(box.x_min - margin, 0), width - 1)), int(min(max(box.y_min - margin, 0), height - 1))
    right, bottom = int(min(np.ceil(box.x_max + margin), width)), int(min(np.ceil(box.y_max + margin), height))
    size_wh = max(right - left, 1), max(bottom - top, 1)
    return _crop(pixels, left_top_xy=(left, top), size_wh=size_wh, side_px=BOX_SIDE_PX)


def _grab_cut(pixels: Pixels, inside: Mask, region: Mask, certain: Mask, excluded: Mask) -> Mask:
    """Runs GrabCut (Rother et al. 2004) from `region`; returns the mask it began with if it leaves nearly nothing."""
    state = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    state[inside], state[region] = cv2.GC_PR_BGD, cv2.GC_PR_FGD
    state[certain], state[excluded] = cv2.GC_FGD, cv2.GC_BGD
    initial = (state == cv2.GC_PR_FGD) | (state == cv2.GC_FGD)
    # GrabCut's two mixture models have five colours each and need at least as many pixels.
    if initial.sum() < 16 or (~initial).sum() < 16:
        return initial
    # The models start at random: a fixed seed gives the same prompt the same mask.
    cv2.setRNGSeed(0)
    cv2.grabCut(pixels, state, None, np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_MASK)
    cut = (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)
    return cut if cut.sum() > 0.05 * inside.sum() else initial


def _remove_negative_clicks(view: View, region: Mask, wanted: Seeds, unwanted: Seeds) -> Mask:
    for seed in unwanted:
        if region[seed[1], seed[0]]:
            region = region & ~_negative_region(view, seed, wanted, region)
    return region


def _negative_region(view: View, seed: Seeds, wanted: Seeds, region: Mask) -> Mask:
    """Returns what a negative click takes from `region`: its own region, unless that is nearly all of `region`.

    Otherwise it takes the part around it whose colour is more like its own than like the nearest positive click's, up
    to three fifths of the way to that click, and at least a small disk.
    """
    other = grow(view, seed, wanted)
    if other is not None and (other.region & region).sum() < MAX_REMOVED_SHARE * region.sum():
        return other.region | _disk(view, seed)
    distance = _distance_to(seed, region.shape)
    positive = [(float(distance[y, x]), int(x), int(y)) for x, y in wanted]
    reach = 0.6 * min(positive)[0] if positive else 0.5 * float(np.sqrt(region.sum()))
    disk = distance <= max(0.15 * reach, SEED_RADIUS_PX)
    if not positive:
        return disk | ((distance < reach) & region)
    _, x, y = min(positive)
    lab = view.fine
    unlike = np.linalg.norm(lab - lab[seed[1], seed[0]], axis=2) - np.linalg.norm(lab - lab[y, x], axis=2)
    part = (unlike < 0) & region & (distance < reach)
    return disk | connected_part(part, seed) if part[seed[1], seed[0]] else disk


def _smooth(region: Mask, wanted: Seeds) -> Mask:
    """Smooths the region, and drops parts that hold no click and are much smaller than the largest part."""
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


def _disks(view: View, seeds: Seeds) -> Mask:
    disks = np.zeros(view.edges.shape, bool)
    for seed in seeds:
        disks |= _disk(view, seed)
    return disks


def _disk(view: View, seed: Seeds) -> Mask:
    return np.asarray(_distance_to(seed, view.edges.shape) <= SEED_RADIUS_PX)


def _distance_to(seed: Seeds, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    rows, columns = np.indices(shape[:2])
    return np.asarray(np.hypot(columns - seed[0], rows - seed[1]))
