"""Which found garments are which approved regions, and what that says of an image and of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import LabelledMask, Mask

# COCO's least: garments that share less are two garments.
MATCHED_IOU = 0.5
# Longer side, about, at which masks are compared: of photographs all pixels would take a gigabyte.
COMPARED_PX = 512
MOST_LABELS = 20
OTHER = "other labels"


@dataclass(frozen=True)
class Pair:
    """A region and a find that are one garment: their places in their lists, and their IoU in `[0, 1]`."""

    region: int
    find: int
    iou: float


@dataclass(frozen=True)
class Confusion:
    """What garments were taken for.

    Attributes:
        labels: at most twenty, those with the most garments; what is left is `OTHER`.
        counts: `int (len(labels) + 1, len(labels) + 1)`: approved labels down, found ones across; the last row is where
            nothing is, the last column what was missed.
    """

    labels: tuple[str, ...]
    counts: npt.NDArray[np.int64]


def ious(regions: Sequence[Mask], finds: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Intersection over union of each region with each find: `float64 (regions, finds)`; 0 of two empty masks.

    Args:
        regions, finds: `bool (H, W)`, all of one size.
    """
    shared = shared_px(regions, finds)
    areas, found_areas = ([np.count_nonzero(mask) for mask in masks] for masks in (regions, finds))
    union = np.array(areas, float)[:, None] + np.array(found_areas, float)[None, :] - shared
    return shared / np.maximum(union, 1)


def shared_px(regions: Sequence[Mask], finds: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """How many pixels each region has in common with each find: `float64 (regions, finds)`."""
    if not regions or not finds:
        return np.zeros((len(regions), len(finds)))
    # As float32 the product is BLAS's, and exact below 2^24 pixels.
    flat, found = (np.stack([mask.ravel() for mask in masks]).astype(np.float32) for masks in (regions, finds))
    return (flat @ found.T).astype(np.float64)


def pairs(overlaps: npt.NDArray[np.float64], *, least: float = MATCHED_IOU) -> list[Pair]:
    """The pairs of one region and one find each that fit best, the best first (greedily, each in one pair at most).

    Args:
        overlaps: `(regions, finds)`, as `ious` gives them.
        least: IoU below which nothing is paired.
    """
    left = overlaps.copy()
    made = []
    while left.size and left.max() >= least:
        region, find = divmod(int(left.argmax()), left.shape[1])
        made.append(Pair(region, find, float(left[region, find])))
        left[region, :] = left[:, find] = -1
    return made


def label_pairs(regions: Sequence[tuple[Mask, str]], finds: Sequence[tuple[Mask, str]]) -> list[Pair]:
    """The pairs of a region and a find of the same label."""
    alike = np.array([[label == other for _, other in finds] for _, label in regions], float)
    overlaps = ious([mask for mask, _ in regions], [mask for mask, _ in finds])
    return pairs(overlaps * alike.reshape(overlaps.shape))


def agreement(regions: Sequence[LabelledMask], finds: Sequence[LabelledMask]) -> float:
    """How well an image was seen, in `[0, 1]`: the mean IoU of its garments, where missed and false ones count 0.

    1 where nothing is and nothing was found.
    """
    found = garment_ious(regions, finds)
    return sum(found) / len(found) if found else 1.0


def garment_ious(regions: Sequence[LabelledMask], finds: Sequence[LabelledMask]) -> list[float]:
    """IoU of each garment that either list shows, in `[0, 1]`: 0 of one that is missed or false."""
    if not regions and not finds:
        return []
    like = [*regions, *finds][0]
    made = label_pairs(_comparable(regions, like=like), _comparable(finds, like=like))
    return [pair.iou for pair in made] + [0.0] * (len(regions) + len(finds) - 2 * len(made))


def confusion(images: Iterable[tuple[Sequence[LabelledMask], Sequence[LabelledMask]]]) -> Confusion:
    """Counts what garments were taken for: pairs of IoU 0.5 and more, whatever their labels.

    Args:
        images: approved and found garments of each.
    """
    counted: Counter[tuple[str | None, str | None]] = Counter()
    for regions, finds in images:
        made = pairs(ious([one.mask for one in regions], [one.mask for one in finds]))
        counted.update((regions[pair.region].label, finds[pair.find].label) for pair in made)
        seen, used = {pair.region for pair in made}, {pair.find for pair in made}
        counted.update((one.label, None) for number, one in enumerate(regions) if number not in seen)
        counted.update((None, one.label) for number, one in enumerate(finds) if number not in used)
    labels = _commonest(counted)
    places: dict[str | None, int] = {label: number for number, label in enumerate(labels)} | {None: len(labels)}
    counts = np.zeros((len(places), len(places)), np.int64)
    for (approved, found), count in counted.items():
        counts[places.get(approved, len(labels) - 1), places.get(found, len(labels) - 1)] += count
    return Confusion(labels, counts)


def _commonest(counted: Counter[tuple[str | None, str | None]]) -> tuple[str, ...]:
    garments: Counter[str] = Counter()
    for pair, count in counted.items():
        for label in pair:
            if label is not None:
                garments[label] += count
    ranked = [label for label, _ in garments.most_common()]
    return tuple(ranked) if len(ranked) <= MOST_LABELS else (*ranked[: MOST_LABELS - 1], OTHER)


def _comparable(masks: Sequence[LabelledMask], *, like: LabelledMask) -> list[tuple[Mask, str]]:
    """Masks and labels, made small; without masks of another size, which are of another image."""
    step = max(max(like.mask.shape) // COMPARED_PX, 1)
    return [(one.mask[::step, ::step], one.label) for one in masks if one.mask.shape == like.mask.shape]


@dataclass(frozen=True)
class Matched:
    """One region that a model found on a held-out image: its label, its score, and whether it was right."""

    image: int
    label: str
    score: float
    right: bool


def match(image: int, found: Sequence[LabelledMask], truth: Sequence[LabelledMask], *, iou: float) -> list[Matched]:
    """Which found regions are right: the surest first, each takes the free approved region of its label it fits best.

    Args:
        found: with scores.
        truth: what a person approved; masks of the same size.
        iou: what a right region's IoU is at least.
    """
    free = list(truth)
    judged = []
    for one in sorted(found, key=lambda region: -(region.score or 0.0)):
        alike = [
            (overlap(one.mask, other.mask), number) for number, other in enumerate(free) if other.label == one.label
        ]
        best, number = max(alike, default=(0.0, -1))
        right = best >= iou
        if right:
            del free[number]
        judged.append(Matched(image, one.label, one.score or 0.0, right))
    return judged


def overlap(one: Mask, other: Mask) -> float:
    """Intersection over union, in `[0, 1]`; 0 of two empty masks."""
    return float(np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1))
