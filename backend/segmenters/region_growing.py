"""Finds the region that a click or a box means by colour: of all regions of similar colour, the most garment-like."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Mask, Pixels

Lab = npt.NDArray[np.float32]
Grey = npt.NDArray[np.float32]
# `(2,)` or `(N, 2)`, x before y: cells of the picture.
Seeds = npt.NDArray[np.intp]

# Colour distances at which a region may end, in CIE Lab; lightness has less weight, because folds change it most.
THRESHOLDS = (6, 8, 10, 13, 16, 20, 25, 31, 38, 46, 56)
BOX_THRESHOLDS = (8, 13, 20, 31, 46)
LIGHTNESS_WEIGHT = 0.45
# Sigmas of the blur: the fine view follows the cloth's edge; the coarse view merges a fabric's stripes into one colour.
FINE_PX, COARSE_PX = 1.2, 4.0
SEED_RADIUS_PX = 3
# The two colours of a patterned cloth are taken from the square within this distance of the click.
PATTERN_RADIUS_PX = 9
LARGEST_SHARE = 0.6
# A change of colour per pixel below this is not an edge.
EDGE = 3.0
STRONGEST_EDGE = 60.0
# Limits for another part of the same garment: its area as shares of the region's area, its distance as a share of the
# region's width, its distance in colour, and the share of its border that may lie on no edge.
PART_SHARES = (0.12, 3.0)
PART_GAP = 0.6
PART_COLOUR = 5.0
PART_WEAK = 0.3
# Where in a box regions start, as shares of its sides.
BOX_GRID = (0.14, 0.38, 0.62, 0.86)
SQUARE = np.ones((3, 3), np.uint8)
ROUND = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


@dataclass(frozen=True)
class View:
    """The picture in the forms in which regions grow.

    Attributes:
        fine, coarse: `float32 (H, W, 3)`, weighted Lab, smoothed by `FINE_PX` and `COARSE_PX`.
        edges: `float32 (H, W)`, change of colour per pixel in `fine`, at most `STRONGEST_EDGE`.
    """

    fine: Lab
    coarse: Lab
    edges: Grey


@dataclass(frozen=True)
class Border:
    """Measurements along a region's border.

    Attributes:
        weak: share of the border, in `[0, 1]`, that lies on no edge.
        contrast: mean change of colour per pixel.
        length_px: length of the border.
    """

    weak: float
    contrast: float
    length_px: float


@dataclass(frozen=True)
class Grown:
    """A region and how much it looks like a garment.

    Attributes:
        similar: all pixels of the picture whose colour is as near to the click's as the region's is.
        value: the higher, the more garment-like; comparable within one picture only.
        score: estimated IoU with the region that the annotator means, in `[0, 1]`.
    """

    region: Mask
    similar: Mask
    value: float
    score: float


def make_view(pixels: Pixels) -> View:
    """Prepares a picture, `uint8 (H, W, 3)`, RGB, for any number of clicks."""
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lab[..., 0] *= LIGHTNESS_WEIGHT
    fine, coarse = (np.asarray(cv2.GaussianBlur(lab, (0, 0), px), np.float32) for px in (FINE_PX, COARSE_PX))
    across, down = (cv2.Scharr(fine, cv2.CV_32F, *step) / 16 for step in ((1, 0), (0, 1)))
    edges = np.sqrt((across**2 + down**2).sum(axis=2))
    return View(fine=fine, coarse=coarse, edges=np.minimum(edges, STRONGEST_EDGE).astype(np.float32))


def grow(view: View, seed: Seeds, avoid: Seeds, *, largest_share: float = LARGEST_SHARE) -> Grown | None:
    """Returns the best region around `seed` `(2,)` that contains none of `avoid` `(N, 2)`; None if there is none.

    Args:
        largest_share: the largest share of the picture, in `[0, 1]`, that the region may have.
    """
    candidates = [
        grown for distance in _distances(view, seed) for grown in _around(view, distance, seed, avoid, largest_share)
    ]
    return max(candidates, key=lambda grown: grown.value, default=None)


def grow_in_box(view: View, inside: Mask, wanted: Seeds, unwanted: Seeds) -> Grown | None:
    """Returns the best region of the box: it reaches the box's sides, and little outside the box has its colour.

    Args:
        inside: True in the box.
        wanted, unwanted: `(N, 2)`, cells that the region should and should not contain.

    Returns:
        The region; None if all regions are smaller than a twentieth of the box.
    """
    best = None
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    grid = [[columns[int(x * len(columns))], rows[int(y * len(rows))]] for y in BOX_GRID for x in BOX_GRID]
    for seed in [*np.array(grid, np.intp), *wanted]:
        distance = next(_distances(view, seed))
        for threshold in BOX_THRESHOLDS:
            similar = _open(distance < threshold)
            outside_share = float(similar[~inside].mean()) if not inside.all() else 0.0
            for region in _region_and_largest_part((similar > 0) & inside):
                if region.sum() < 0.05 * inside.sum():
                    continue
                missed = np.count_nonzero(~region[wanted[:, 1], wanted[:, 0]])
                missed += np.count_nonzero(region[unwanted[:, 1], unwanted[:, 0]])
                grown = _rate_in_box(view, region, inside, outside_share=outside_share, missed=missed)
                best = grown if best is None or grown.value > best.value else best
    return best


def add_other_parts(view: View, grown: Grown, avoid: Seeds) -> Mask:
    """Returns the region with nearby parts of the same cloth: the other sleeve or trouser leg, a saree's end.

    A part has a similar size and colour, ends at edges, does not touch the frame of the picture, lies near the region
    (see the `PART_` constants), and contains none of `avoid`.
    """
    count, component_ids, stats, _ = cv2.connectedComponentsWithStats(grown.similar.astype(np.uint8), connectivity=4)
    area, (height, width) = float(grown.region.sum()), grown.region.shape
    distance_px = cv2.distanceTransform((~grown.region).astype(np.uint8), cv2.DIST_L2, 3)
    colour = view.fine[grown.region].mean(axis=0)
    result = grown.region
    for number in range(1, count):
        left, top, across, down, size = stats[number]
        touches = left == 0 or top == 0 or left + across == width or top + down == height
        if touches or not PART_SHARES[0] * area <= size <= PART_SHARES[1] * area:
            continue
        part = component_ids == number
        near = 0 < distance_px[part].min() <= PART_GAP * np.sqrt(area)
        like = np.linalg.norm(view.fine[part].mean(axis=0) - colour) <= PART_COLOUR
        if near and like and not part[avoid[:, 1], avoid[:, 0]].any() and _border(view, part).weak <= PART_WEAK:
            result = result | fill_small_holes(part)
    return result


def fill_small_holes(region: Mask) -> Mask:
    """Returns `region` with holes filled that are smaller than a fiftieth of it."""
    contours, hierarchy = cv2.findContours(region.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    result = region.astype(np.uint8)
    largest_hole = 0.02 * float(region.sum())
    for contour, links in zip(contours, hierarchy[0] if hierarchy is not None else [], strict=True):
        if links[3] >= 0 and cv2.contourArea(contour) < largest_hole:
            cv2.drawContours(result, [contour], -1, 1, cv2.FILLED)
    return result > 0


def connected_part(like: npt.NDArray[np.generic], seed: Seeds) -> Mask:
    """Returns the connected part of `like` around `seed`, which must lie in `like`, with its small holes filled."""
    _, component_ids = cv2.connectedComponents(like.astype(np.uint8), connectivity=4)
    return fill_small_holes(component_ids == component_ids[seed[1], seed[0]])


def _around(view: View, distance: Grey, seed: Seeds, avoid: Seeds, largest_share: float) -> Iterator[Grown]:
    """Yields regions of one distance map, smallest first: each waits for the next, whose size shows its stability."""
    previous = None
    for threshold in THRESHOLDS:
        similar = _open(distance < threshold)
        if not similar[seed[1], seed[0]]:
            continue
        region = connected_part(similar, seed)
        if previous is not None:
            yield _rate(view, *previous, growth=float(region.sum() / previous[0].sum()))
        if region.mean() > largest_share or region[avoid[:, 1], avoid[:, 0]].any():
            return
        previous = region, similar > 0
    if previous is not None:
        yield _rate(view, *previous, growth=1.0)


def _rate(view: View, region: Mask, similar: Mask, *, growth: float) -> Grown:
    """Rates how much `region` looks like a garment.

    The weights were fitted on 60 drawn figures by maximising the mean IoU of the chosen regions. The rule: a garment
    ends at an edge all around, hardly grows when colours may differ a little more, is not a thread, does not run along
    the frame of the picture, and is the whole garment rather than one fold of it.

    Args:
        growth: how many times larger the region becomes at the next threshold.
    """
    border = _border(view, region)
    frame = float(np.concatenate([region[0], region[-1], region[:, 0], region[:, -1]]).mean())
    roundness = 4 * np.pi * float(region.sum()) / max(border.length_px, 1.0) ** 2
    widening = min(float(np.log(max(growth, 1.0))), 1.5)
    value = (
        0.93 * np.log(region.mean() + 1e-4)
        - 7.3 * min(8 * frame, 1.0)
        - 4.0 * border.weak
        + 0.96 * np.log(border.contrast + 0.5)
        - 1.2 * widening
        + 1.1 * np.log(roundness + 0.01)
    )
    return Grown(region=region, similar=similar, value=float(value), score=_score(border))


def _rate_in_box(view: View, region: Mask, inside: Mask, *, outside_share: float, missed: int) -> Grown:
    """Rates a region in a box, as `_rate` does; `outside_share`: share of the pixels outside with its colour."""
    border = _border(view, region)
    value = (
        -4.0 * border.weak
        + 0.96 * np.log(border.contrast + 0.5)
        + 0.93 * np.log(region.sum() / inside.sum() + 1e-3)
        + 10.0 * _bounds_iou(region, inside)
        - 6.0 * outside_share
        - 4.0 * missed
    )
    return Grown(region=region, similar=region, value=float(value), score=_score(border))


def _border(view: View, region: Mask) -> Border:
    small = region.astype(np.uint8)
    # A band two pixels wide; the frame of the picture is not a border.
    change = view.edges[(cv2.dilate(small, SQUARE) > 0) & (cv2.erode(small, SQUARE) == 0)]
    if not change.size:
        return Border(weak=1.0, contrast=0.0, length_px=0.0)
    return Border(weak=float((change < EDGE).mean()), contrast=float(change.mean()), length_px=change.size / 2)


def _score(border: Border) -> float:
    return float(np.clip(0.9 - 0.9 * border.weak, 0.05, 0.95))


def _bounds_iou(region: Mask, inside: Mask) -> float:
    """Returns the IoU of the box with the bounding box of `region`, which lies inside the box."""
    _, _, width, height = cv2.boundingRect(region.astype(np.uint8))
    return float(width * height / inside.sum())


def _region_and_largest_part(region: Mask) -> list[Mask]:
    """Returns the region and, if it has several parts, the largest: parts may be the garment, or only its colour."""
    count, component_ids, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=4)
    if count <= 2:
        return [region]
    return [region, component_ids == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))]


def _open(like: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Cuts thin leaks by a morphological opening; returns `uint8 (H, W)`."""
    return np.asarray(cv2.morphologyEx(like.astype(np.uint8), cv2.MORPH_OPEN, ROUND), np.uint8)


def _distances(view: View, seed: Seeds) -> Iterator[Grey]:
    """Yields colour distances from the click, `float32 (H, W)`: in the fine and coarse views, and from a pattern."""
    for lab in (view.fine, view.coarse):
        yield _distance(lab, np.median(_window(lab, seed, SEED_RADIUS_PX), axis=0))
    first, second = _two_colours(_window(view.fine, seed, PATTERN_RADIUS_PX))
    yield np.minimum(_distance(view.fine, first), _distance(view.fine, second))


def _distance(lab: Lab, colour: npt.NDArray[np.float32]) -> Grey:
    return np.asarray(np.sqrt(((lab - colour) ** 2).sum(axis=2)), np.float32)


def _window(lab: Lab, seed: Seeds, radius_px: int) -> npt.NDArray[np.float32]:
    """Returns the colours of the square around the seed, `float32 (N, 3)`."""
    x, y = int(seed[0]), int(seed[1])
    rows, columns = slice(max(y - radius_px, 0), y + radius_px + 1), slice(max(x - radius_px, 0), x + radius_px + 1)
    return lab[rows, columns].reshape(-1, 3)


def _two_colours(colours: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Finds two colours by 2-means, which starts from the halves of the main axis and so is deterministic."""
    mean = colours.mean(axis=0)
    _, _, axes = np.linalg.svd(colours - mean, full_matrices=False)
    nearer_first = (colours - mean) @ axes[0] < 0
    first = second = mean
    for _ in range(6):
        if nearer_first.all() or not nearer_first.any():
            break
        first, second = colours[nearer_first].mean(axis=0), colours[~nearer_first].mean(axis=0)
        nearer_first = ((colours - first) ** 2).sum(axis=1) < ((colours - second) ** 2).sum(axis=1)
    return first, second
