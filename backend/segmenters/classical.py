"""A segmenter without weights: regions of like colour around the clicks, chosen by how sharp their border is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Box, Mask, Photo, Pixels, Prompt, Segment
from backend.errors import PromptError

WORK_SIDE_PX = 400
# Colour distances at which a region may end: CIE Lab, lightness counted less, because folds change it most.
THRESHOLDS = (6, 8, 10, 13, 16, 20, 25, 31, 38, 46, 56)
LIGHTNESS_WEIGHT = 0.45
# From fine to coarse: the coarse ones see the fabric where the fine one sees its stripes.
SMOOTHING_PX = (1.2, 4.0, 8.0)
SEED_RADIUS_PX = 3
LARGEST_SHARE = 0.6
KEPT_SHARE = 0.6
GRABCUT_ROUNDS = 3

Lab = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Candidate:
    region: Mask
    contrast: float


class ClassicalSegmenter:
    """Works anywhere at once; a model with weights sees far more. Deterministic, and without any state."""

    name = "classical"

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """At most one mask `bool (H, W)`: what the positive clicks and boxes mean, without what the negative ones do.

        Raises:
            PromptError: there is neither a positive click nor a box.
        """
        if not prompt.boxes and not any(point.positive for point in prompt.points):
            raise PromptError("Click on the garment first; Alt-click only takes away from it.")
        width, height = image.size_wh
        scale = min(1.0, WORK_SIDE_PX / max(width, height))
        size_wh = max(round(width * scale), 1), max(round(height * scale), 1)
        small = cv2.resize(image.pixels, size_wh, interpolation=cv2.INTER_AREA)
        positive = _cells((point.x, point.y) for point in prompt.points if point.positive) * scale
        negative = _cells((point.x, point.y) for point in prompt.points if not point.positive) * scale
        region, score = _find(small, _inside(positive, size_wh), _inside(negative, size_wh), prompt.boxes, scale)
        if not region.any():
            return []
        # Interpolated: the border of the small mask is a slope in the large one, cut at its middle.
        large = cv2.resize(region.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) >= 0.5
        return [Segment(mask=large, score=score)] if large.any() else []


def _find(
    small: Pixels, positive: npt.NDArray[np.intp], negative: npt.NDArray[np.intp], boxes: tuple[Box, ...], scale: float
) -> tuple[Mask, float]:
    region = np.zeros(small.shape[:2], bool)
    contrasts = []
    for box in boxes:
        found = _cut_box(small, box, scale)
        region |= found
        contrasts.append(_contrast(found, _edges(_lab(small, SMOOTHING_PX[0]))))
    outside = np.ones_like(region)
    for box in boxes:
        outside[_rows_columns(box, scale, region.shape)] = False
    layers = [_lab(small, smoothing) for smoothing in SMOOTHING_PX]
    edges = _edges(layers[0])
    for seed in positive:
        if region[seed[1], seed[0]]:
            continue
        best = _grow(layers, edges, seed, negative[:0])
        if any(best.region[y, x] for x, y in negative):
            # A smaller region that leaves the negative clicks out, unless it leaves nearly everything out.
            smaller = _grow(layers, edges, seed, negative)
            best = smaller if smaller.region.sum() > KEPT_SHARE * best.region.sum() else best
        region |= best.region
        contrasts.append(best.contrast)
    if boxes:
        region &= ~outside
    for seed in negative:
        if region[seed[1], seed[0]]:
            region &= ~_taken_away(layers[0], seed, positive, region)
    return _tidy(region, positive), float(np.clip(np.mean(contrasts or [0.0]) / 40.0, 0.05, 0.95))


def _grow(
    layers: list[Lab], edges: npt.NDArray[np.float32], seed: npt.NDArray[np.intp], avoid: npt.NDArray[np.intp]
) -> _Candidate:
    """The region around `seed` whose border is sharpest, over all thresholds and smoothings, that holds no `avoid`."""
    best = _Candidate(region=np.zeros(edges.shape, bool), contrast=-1.0)
    smallest = None
    for lab in layers:
        colour = np.median(lab[_disk(seed, edges.shape)].reshape(-1, 3), axis=0)
        distance = np.sqrt(((lab - colour) ** 2).sum(axis=2))
        for threshold in THRESHOLDS:
            region = _component(distance < threshold, seed)
            if region is None:
                continue
            if any(region[y, x] for x, y in avoid) or region.mean() > LARGEST_SHARE:
                break
            smallest = region if smallest is None else smallest
            # Of two borders as sharp as each other the one around more is more likely a garment than a fold of it.
            contrast = _contrast(region, edges) * float(region.mean()) ** 0.12
            if contrast > best.contrast:
                best = _Candidate(region=region, contrast=contrast)
    if best.contrast < 0:
        region = np.zeros(edges.shape, bool) if smallest is None else smallest
        region[_disk(seed, edges.shape)] = True
        return _Candidate(region=region, contrast=0.0)
    return best


def _taken_away(lab: Lab, seed: npt.NDArray[np.intp], positive: npt.NDArray[np.intp], region: Mask) -> Mask:
    """What a negative click takes from `region`: what around it is more like it than like the nearest positive click.

    It reaches no further than three fifths of the way to that click, and takes at least a small disk.
    """
    rows, columns = np.indices(region.shape)
    away = np.hypot(columns - seed[0], rows - seed[1])
    reach = 0.6 * min((float(away[y, x]) for x, y in positive), default=0.5 * float(np.sqrt(region.sum())))
    disk = away <= max(0.15 * reach, SEED_RADIUS_PX)
    near = [(float(away[y, x]), x, y) for x, y in positive]
    if not near:
        return (away < reach) & region
    _, x, y = min(near)
    unlike = np.linalg.norm(lab - lab[seed[1], seed[0]], axis=2) - np.linalg.norm(lab - lab[y, x], axis=2)
    part = _component((unlike < 0) & region & (away < reach), seed)
    return disk if part is None else part | disk


def _cut_box(small: Pixels, box: Box, scale: float) -> Mask:
    """GrabCut (Rother et al. 2004) inside the box."""
    height, width = small.shape[:2]
    rows, columns = _rows_columns(box, scale, (height, width))
    # GrabCut learns the background from what is outside the box: with nothing outside, the box is the answer.
    mask = np.full((height, width), cv2.GC_BGD, np.uint8)
    mask[rows, columns] = cv2.GC_PR_FGD
    if (mask == cv2.GC_PR_FGD).sum() < 16 or (mask == cv2.GC_BGD).sum() < 16:
        return mask == cv2.GC_PR_FGD
    # Its mixture models start at random: the same start for the same question.
    cv2.setRNGSeed(0)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    smooth = cv2.bilateralFilter(small, 7, 30, 7)
    cv2.grabCut(smooth, mask, None, background, foreground, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = (mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)
    inside = np.zeros_like(found)
    inside[rows, columns] = True
    return found if found.sum() > 0.05 * inside.sum() else inside


def _contrast(region: Mask, edges: npt.NDArray[np.float32]) -> float:
    """Mean colour change per pixel along the region's border; the border of the picture counts as no change."""
    grown = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shrunk = cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    border = grown & ~shrunk
    return float(np.minimum(edges[border], 60.0).mean()) if border.any() else 0.0


def _component(like: npt.NDArray[np.bool_], seed: npt.NDArray[np.intp]) -> Mask | None:
    """The connected part around the seed, thin leaks cut and holes filled; None where the seed is not in it."""
    opened = cv2.morphologyEx(
        like.astype(np.uint8), cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    )
    if not opened[seed[1], seed[0]]:
        return None
    _, numbers = cv2.connectedComponents(opened, connectivity=4)
    return _filled(numbers == numbers[seed[1], seed[0]])


def _filled(region: Mask) -> Mask:
    contours, hierarchy = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    filled = region.astype(np.uint8)
    largest_hole = 0.02 * float(region.sum())
    for contour, links in zip(contours, hierarchy[0] if hierarchy is not None else [], strict=True):
        if links[3] >= 0 and cv2.contourArea(contour) < largest_hole:
            cv2.drawContours(filled, [contour], -1, 1, cv2.FILLED)
    return filled > 0


def _tidy(region: Mask, positive: npt.NDArray[np.intp]) -> Mask:
    """Smoothed; parts that hold no click are kept only where they are not much smaller than the largest."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    smooth = cv2.morphologyEx(
        cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel
    )
    count, numbers, stats, _ = cv2.connectedComponentsWithStats(smooth, connectivity=4)
    if count <= 1:
        return region
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = {int(number) + 1 for number in np.flatnonzero(areas >= 0.1 * areas.max())}
    clicked = {int(numbers[y, x]) for x, y in positive} - {0}
    return np.isin(numbers, list(clicked or kept))


def _lab(small: Pixels, smoothing_px: float) -> Lab:
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab[..., 0] *= LIGHTNESS_WEIGHT
    return cv2.GaussianBlur(lab, (0, 0), smoothing_px).astype(np.float32)


def _edges(lab: Lab) -> npt.NDArray[np.float32]:
    across = cv2.Scharr(lab, cv2.CV_32F, 1, 0) / 16
    down = cv2.Scharr(lab, cv2.CV_32F, 0, 1) / 16
    return np.asarray(np.sqrt((across**2 + down**2).sum(axis=2)), np.float32)


def _disk(seed: npt.NDArray[np.intp], shape: tuple[int, ...]) -> tuple[slice, slice]:
    x, y = int(seed[0]), int(seed[1])
    r = SEED_RADIUS_PX
    return slice(max(y - r, 0), min(y + r + 1, shape[0])), slice(max(x - r, 0), min(x + r + 1, shape[1]))


def _rows_columns(box: Box, scale: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    x_min, x_max = int(box.x_min * scale), int(np.ceil(box.x_max * scale))
    y_min, y_max = int(box.y_min * scale), int(np.ceil(box.y_max * scale))
    return slice(max(y_min, 0), min(y_max, shape[0])), slice(max(x_min, 0), min(x_max, shape[1]))


def _cells(points: Iterable[tuple[float, float]]) -> npt.NDArray[np.float64]:
    return np.array(list(points), np.float64).reshape(-1, 2)


def _inside(points: npt.NDArray[np.float64], size_wh: tuple[int, int]) -> npt.NDArray[np.intp]:
    return np.clip(np.floor(points), 0, np.array(size_wh) - 1).astype(np.intp)
