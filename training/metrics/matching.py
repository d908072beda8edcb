"""Pairs detected garments with approved regions, and scores an image or a model by the pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import LabelledMask, Mask

# COCO's lowest IoU threshold: masks that overlap less are different garments.
MATCHED_IOU = 0.5
# Approximate longer side of the masks that are compared: at full resolution a photograph's masks take a gigabyte.
COMPARED_PX = 512
MOST_LABELS = 20
OTHER = "other labels"


@dataclass(frozen=True)
class Pair:
    """A region and a detection of the same garment: their indices in their lists, and their IoU in `[0, 1]`."""

    region: int
    find: int
    iou: float


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix of garments.

    Attributes:
        labels: at most twenty, those with the most garments first; the rest are counted together as `OTHER`.
        counts: `int (len(labels) + 1, len(labels) + 1)`: approved labels down, detected labels across; the last row
            counts detections without a region, the last column missed regions.
    """

    labels: tuple[str, ...]
    counts: npt.NDArray[np.int64]


def ious(regions: Sequence[Mask], finds: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Returns the IoU of each region with each detection: `float64 (regions, finds)`; 0 for two empty masks.

    Args:
        regions, finds: masks `bool (H, W)`, all of the same size.
    """
    shared = shared_px(regions, finds)
    areas, found_areas = ([np.count_nonzero(mask) for mask in masks] for masks in (regions, finds))
    union = np.array(areas, float)[:, None] + np.array(found_areas, float)[None, :] - shared
    return shared / np.maximum(union, 1)


def shared_px(regions: Sequence[Mask], finds: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Returns the number of pixels that each region shares with each detection: `float64 (regions, finds)`."""
    if not regions or not finds:
        return np.zeros((len(regions), len(finds)))
    # float32, because BLAS then computes the product; it is exact below 2^24 pixels.
    flat, found = (np.stack([mask.ravel() for mask in masks]).astype(np.float32) for masks in (regions, finds))
    return (flat @ found.T).astype(np.float64)


def pairs(overlaps: npt.NDArray[np.float64], *, least: float = MATCHED_IOU) -> list[Pair]:
    """Pairs regions with detections greedily, highest IoU first; each is in one pair at most.

    Args:
        overlaps: IoU `(regions, finds)`, from `ious`.
        least: the lowest IoU of a pair.
    """
    left = overlaps.copy()
    made = []
    while left.size and left.max() >= least:
        region, find = divmod(int(left.argmax()), left.shape[1])
        made.append(Pair(region, find, float(left[region, find])))
        left[region, :] = left[:, find] = -1
    return made


def label_pairs(regions: Sequence[tuple[Mask, str]], finds: Sequence[tuple[Mask, str]]) -> list[Pair]:
    """Pairs each region with a detection of the same label."""
    alike = np.array([[label == other for _, other in finds] for _, label in regions], float)
    overlaps = ious([mask for mask, _ in regions], [mask for mask, _ in finds])
    return pairs(overlaps * alike.reshape(overlaps.shape))


def agreement(regions: Sequence[LabelledMask], finds: Sequence[LabelledMask]) -> float:
    """Returns the mean IoU of an image's garments, in `[0, 1]`; missed and false ones count 0.

    Returns 1 if there is neither a garment nor a detection.
    """
    found = garment_ious(regions, finds)
    return sum(found) / len(found) if found else 1.0


def garment_ious(regions: Sequence[LabelledMask], finds: Sequence[LabelledMask]) -> list[float]:
    """Returns the IoU of each garment in either list, in `[0, 1]`: 0 for a missed or false one."""
    if not regions and not finds:
        return []
    like = [*regions, *finds][0]
    made = label_pairs(_comparable(regions, like=like), _comparable(finds, like=like))
    return [pair.iou for pair in made] + [0.0] * (len(regions) + len(finds) - 2 * len(made))


def confusion(images: Iterable[tuple[Sequence[LabelledMask], Sequence[LabelledMask]]]) -> Confusion:
    """Counts the confusion matrix over pairs of IoU 0.5 or more, whatever their labels.

    Args:
        images: the approved and the detected garments of each image.
    """
    counted: Counter[tuple[str | None, str | None]] = Counter()
    for regions, finds in images:
        made = pairs(ious([region.mask for region in regions], [detection.mask for detection in finds]))
        counted.update((regions[pair.region].label, finds[pair.find].label) for pair in made)
        seen, used = {pair.region for pair in made}, {pair.find for pair in made}
        counted.update((region.label, None) for number, region in enumerate(regions) if number not in seen)
        counted.update((None, detection.label) for number, detection in enumerate(finds) if number not in used)
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
    """Returns downsampled masks with labels; drops masks of another size, which belong to another image."""
    step = max(max(like.mask.shape) // COMPARED_PX, 1)
    return [(region.mask[::step, ::step], region.label) for region in masks if region.mask.shape == like.mask.shape]


@dataclass(frozen=True)
class Matched:
    """A detection on a held-out image: the image's index, its label, its score, and whether it is right."""

    image: int
    label: str
    score: float
    right: bool


def match(image: int, found: Sequence[LabelledMask], truth: Sequence[LabelledMask], *, iou: float) -> list[Matched]:
    """Matches each detection, highest score first, with the free approved region of its label that has the highest IoU.

    Args:
        found: detections with scores.
        truth: the approved garments; masks of the same size.
        iou: the lowest IoU of a right detection.
    """
    free = list(truth)
    judged = []
    for detection in sorted(found, key=lambda region: -(region.score or 0.0)):
        alike = [
            (overlap(detection.mask, other.mask), number)
            for number, other in enumerate(free)
            if other.label == detection.label
        ]
        best, number = max(alike, default=(0.0, -1))
        right = best >= iou
        if right:
            del free[number]
        judged.append(Matched(image, detection.label, detection.score or 0.0, right))
    return judged


def overlap(first: Mask, other: Mask) -> float:
    """Returns the IoU of two masks, in `[0, 1]`; 0 if both are empty."""
    return float(np.count_nonzero(first & other) / max(np.count_nonzero(first | other), 1))
