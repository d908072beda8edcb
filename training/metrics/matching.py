"""Pairs detected garments with approved regions, and scores an image or a model by the pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import LabelledMask, Mask

# COCO's lowest IoU threshold: masks that overlap less are different garments.
MATCHED_IOU = 0.5
# Approximate longer side of the masks that are compared: at full resolution a photograph's masks take a gigabyte.
COMPARED_PX = 512
MAX_LABELS = 20
OTHER = "other labels"


@dataclass(frozen=True)
class Pair:
    """A region and a detection of the same garment: their indices in their lists, and their IoU in `[0, 1]`."""

    region: int
    detection: int
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


def ious(regions: Sequence[Mask], detections: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Returns the IoU of each region with each detection: `float64 (regions, detections)`; 0 for two empty masks.

    Args:
        regions, detections: masks `bool (H, W)`, all of the same size.
    """
    shared = shared_px(regions, detections)
    areas, detected_areas = ([np.count_nonzero(mask) for mask in masks] for masks in (regions, detections))
    union = np.array(areas, float)[:, None] + np.array(detected_areas, float)[None, :] - shared
    return shared / np.maximum(union, 1)


def shared_px(regions: Sequence[Mask], detections: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Returns the number of pixels that each region shares with each detection: `float64 (regions, detections)`."""
    shared = np.zeros((len(regions), len(detections)))
    for row, region in zip(shared, regions, strict=True):
        # Only in the box around the region: garments are small against their image.
        left, top, wide, high = cv2.boundingRect(region.view(np.uint8))
        box = slice(top, top + high), slice(left, left + wide)
        row[:] = [np.count_nonzero(region[box] & detection[box]) for detection in detections]
    return shared


def pairs(overlaps: npt.NDArray[np.float64], *, min_iou: float = MATCHED_IOU) -> list[Pair]:
    """Pairs regions with detections greedily, highest IoU first; each is in one pair at most.

    Args:
        overlaps: IoU `(regions, detections)`, from `ious`.
        min_iou: the lowest IoU of a pair.
    """
    remaining = overlaps.copy()
    matched = []
    while remaining.size and remaining.max() >= min_iou:
        region, detection = divmod(int(remaining.argmax()), remaining.shape[1])
        matched.append(Pair(region, detection, float(remaining[region, detection])))
        remaining[region, :] = remaining[:, detection] = -1
    return matched


def label_pairs(regions: Sequence[tuple[Mask, str]], detections: Sequence[tuple[Mask, str]]) -> list[Pair]:
    """Pairs each region with a detection of the same label."""
    same_label = np.array(
        [[label == detected_label for _, detected_label in detections] for _, label in regions], float
    )
    overlaps = ious([mask for mask, _ in regions], [mask for mask, _ in detections])
    return pairs(overlaps * same_label.reshape(overlaps.shape))


def agreement(regions: Sequence[LabelledMask], detections: Sequence[LabelledMask]) -> float:
    """Returns the mean IoU of an image's garments, in `[0, 1]`; missed and false ones count 0.

    Returns 1 if there is neither a garment nor a detection.
    """
    overlaps = garment_ious(regions, detections)
    return sum(overlaps) / len(overlaps) if overlaps else 1.0


def garment_ious(regions: Sequence[LabelledMask], detections: Sequence[LabelledMask]) -> list[float]:
    """Returns the IoU of each garment in either list, in `[0, 1]`: 0 for a missed or false one."""
    if not regions and not detections:
        return []
    first = [*regions, *detections][0]
    matched = label_pairs(_comparable(regions, reference=first), _comparable(detections, reference=first))
    return [pair.iou for pair in matched] + [0.0] * (len(regions) + len(detections) - 2 * len(matched))


def confusion(images: Iterable[tuple[Sequence[LabelledMask], Sequence[LabelledMask]]]) -> Confusion:
    """Counts the confusion matrix over pairs of IoU 0.5 or more, whatever their labels.

    Args:
        images: the approved and the detected garments of each image.
    """
    counted: Counter[tuple[str | None, str | None]] = Counter()
    for regions, detections in images:
        matched = pairs(ious([region.mask for region in regions], [detection.mask for detection in detections]))
        counted.update((regions[pair.region].label, detections[pair.detection].label) for pair in matched)
        matched_regions, matched_detections = {pair.region for pair in matched}, {pair.detection for pair in matched}
        counted.update((region.label, None) for number, region in enumerate(regions) if number not in matched_regions)
        counted.update(
            (None, detection.label) for number, detection in enumerate(detections) if number not in matched_detections
        )
    labels = _commonest(counted)
    places: dict[str | None, int] = {label: number for number, label in enumerate(labels)} | {None: len(labels)}
    counts = np.zeros((len(places), len(places)), np.int64)
    for (approved, detected), count in counted.items():
        counts[places.get(approved, len(labels) - 1), places.get(detected, len(labels) - 1)] += count
    return Confusion(labels, counts)


def _commonest(counted: Counter[tuple[str | None, str | None]]) -> tuple[str, ...]:
    garments: Counter[str] = Counter()
    for pair, count in counted.items():
        for label in pair:
            if label is not None:
                garments[label] += count
    ranked = [label for label, _ in garments.most_common()]
    return tuple(ranked) if len(ranked) <= MAX_LABELS else (*ranked[: MAX_LABELS - 1], OTHER)


def _comparable(masks: Sequence[LabelledMask], *, reference: LabelledMask) -> list[tuple[Mask, str]]:
    """Returns downsampled masks with labels; drops masks of another size, which belong to another image."""
    step = max(max(reference.mask.shape) // COMPARED_PX, 1)
    return [
        (region.mask[::step, ::step], region.label) for region in masks if region.mask.shape == reference.mask.shape
    ]


@dataclass(frozen=True)
class MatchedDetection:
    """A detection on a held-out image: the image's index, its label, its score, and whether it is right."""

    image: int
    label: str
    score: float
    is_correct: bool


def match(
    image: int, detections: Sequence[LabelledMask], truth: Sequence[LabelledMask], *, iou: float
) -> list[MatchedDetection]:
    """Matches each detection, highest score first, with the free approved region of its label that has the highest IoU.

    Args:
        detections: detections with scores.
        truth: the approved garments; masks of the same size.
        iou: the lowest IoU of a right detection.
    """
    free = list(truth)
    matches = []
    for detection in sorted(detections, key=lambda region: -(region.score or 0.0)):
        candidates = [
            (overlap(detection.mask, region.mask), number)
            for number, region in enumerate(free)
            if region.label == detection.label
        ]
        best, number = max(candidates, default=(0.0, -1))
        is_correct = best >= iou
        if is_correct:
            del free[number]
        matches.append(MatchedDetection(image, detection.label, detection.score or 0.0, is_correct))
    return matches


def overlap(first: Mask, second: Mask) -> float:
    """Returns the IoU of two masks, in `[0, 1]`; 0 if both are empty."""
    return float(np.count_nonzero(first & second) / max(np.count_nonzero(first | second), 1))
