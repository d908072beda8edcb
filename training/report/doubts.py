"""Finds doubts: approved annotations that a model contradicts with confidence.

After ObjectLab (Tkachenko, Thyagarajan and Mueller 2023), which detects overlooked, swapped and badly located boxes.
This module uses masks, and adds regions that the model does not see. A doubt may also be the model's mistake. A model
contradicts annotations less if it was trained on them, so the images should be new to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backend.domain import Detection, LabelledMask, Mask, Scene
from backend.regions.selection import without_duplicates
from training.metrics.binomial import CONFIDENCE, lower_bound
from training.metrics.matching import MATCHED_IOU, Pair, ious, label_pairs, overlap

Kind = Literal["missed", "spurious", "wrong class", "poor border"]

# The lowest score of a detection that can contradict an annotation, and the lowest confidence of a contradiction.
FOUND_FROM = 0.25
SURE_FROM = 0.5
SAME_PLACE_IOU = 0.8
GOOD_BORDER_IOU = 0.75
MOST = 50
HALF = 0.5


@dataclass(frozen=True)
class Case:
    """An image: its ground truth and a model's detections; all masks have the same size."""

    task_id: int
    annotation_id: int
    truth: tuple[LabelledMask, ...]
    scene: Scene


@dataclass(frozen=True)
class Doubt:
    """A region, or a place without a region, that the model contradicts.

    Attributes:
        image: the image's index in the list of images.
        confidence: how strongly the model contradicts, in `[0, 1]`; see `second_look`.
        region: the approved region; None if the person missed a garment.
        find: the model's detection there; None if there is none.
        iou: the IoU of both; None if there is only one.
    """

    kind: Kind
    image: int
    task_id: int
    annotation_id: int
    confidence: float
    region: LabelledMask | None = None
    find: Detection | None = None
    iou: float | None = None


@dataclass(frozen=True)
class _Reading:
    """An image, its detections without duplicates, and their pairs with regions of the same label."""

    number: int
    image: Case
    finds: tuple[Detection, ...]
    pairs: tuple[Pair, ...]

    def doubt(
        self,
        kind: Kind,
        confidence: float,
        region: LabelledMask | None = None,
        find: Detection | None = None,
        iou: float | None = None,
    ) -> Doubt:
        """Returns a doubt about this image."""
        of = self.image
        return Doubt(kind, self.number, of.task_id, of.annotation_id, confidence, region, find, iou)


def second_look(images: Sequence[Case], *, most: int = MOST) -> list[Doubt]:
    """Returns the `most` strongest doubts, strongest first.

    Each needs a confidence of at least 0.5; for a poor border, the detection's region score must be at least 0.5.

    - *missed*: a detection without a region (IoU below 0.5 with all, and less than half of it in regions of its label).
      The confidence is the detection's region score.
    - *wrong class*: a detection of another label in a region's place (IoU at least 0.8), and none of its own label. The
      confidence is its region score minus that of the best detection of the region's own label there.
    - *poor border*: a detection of the region's label whose IoU with the region is between 0.5 and 0.75. The
      confidence is its region score at IoU 0.5, and falls linearly to half at 0.75. Rectangles are not compared.
    - *spurious*: a region that the model hardly sees. The confidence is the label's recall on its other regions
      (exact lower 95 % bound: few regions prove little), times 1 minus the best region score, however low, of
      any detection that covers half of the region.

    Args:
        images: preferably images that the model was not trained on.
    """
    readings = [_read(number, image) for number, image in enumerate(images)]
    regions, found = _counts(readings)
    doubts: list[Doubt] = []
    for reading in readings:
        paired = {pair.region: pair for pair in reading.pairs}
        for number, region in enumerate(reading.image.truth):
            if number in paired:
                doubts += _poor_border(reading, paired[number])
            else:
                others = regions[region.label] - 1
                recall = lower_bound(found[region.label], others, error=1 - CONFIDENCE) if others else 0.0
                doubts += _wrong_class(reading, region) or _spurious(reading, region, recall=recall)
        doubts += _missed(reading, used={pair.find for pair in reading.pairs})
    return sorted(doubts, key=lambda doubt: (-doubt.confidence, doubt.task_id))[:most]


def _read(number: int, image: Case) -> _Reading:
    finds = without_duplicates([detection for detection in image.scene.detections if detection.score >= FOUND_FROM])
    made = label_pairs(
        [(region.mask, region.label) for region in image.truth],
        [(detection.mask, detection.class_name) for detection in finds],
    )
    return _Reading(number, image, tuple(finds), tuple(made))


def _counts(readings: Sequence[_Reading]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Counts the regions of each label, and how many of them were detected."""
    regions = Counter(region.label for reading in readings for region in reading.image.truth)
    found = Counter(reading.image.truth[pair.region].label for reading in readings for pair in reading.pairs)
    return regions, found


def _poor_border(reading: _Reading, pair: Pair) -> list[Doubt]:
    region, find = reading.image.truth[pair.region], reading.finds[pair.find]
    if region.kind == "rectangle" or find.region_score < SURE_FROM:
        return []
    iou = max(pair.iou, overlap(find.mask, _inside(find, reading.image.truth)))
    if iou >= GOOD_BORDER_IOU:
        return []
    return [reading.doubt("poor border", find.region_score * (1 - iou) / (1 - MATCHED_IOU), region, find, iou)]


def _inside(find: Detection, truth: Sequence[LabelledMask]) -> Mask:
    """Unites the regions of the detection's label that lie half or more in it: people may draw a garment in parts."""
    parts = [
        region.mask for region in truth if region.label == find.class_name and _share(region.mask, find.mask) >= HALF
    ]
    return np.logical_or.reduce([np.zeros_like(find.mask), *parts])


def _wrong_class(reading: _Reading, region: LabelledMask) -> list[Doubt]:
    others = [
        (detection, iou)
        for detection in reading.finds
        if detection.class_name != region.label and (iou := overlap(detection.mask, region.mask)) >= SAME_PLACE_IOU
    ]
    if not others:
        return []
    find, iou = max(others, key=lambda other: other[0].region_score)
    own = [
        detection.region_score
        for detection in reading.image.scene.detections
        if detection.class_name == region.label and overlap(detection.mask, region.mask) >= MATCHED_IOU
    ]
    confidence = find.region_score - max(own, default=0.0)
    return [reading.doubt("wrong class", confidence, region, find, iou)] if confidence >= SURE_FROM else []


def _spurious(reading: _Reading, region: LabelledMask, *, recall: float) -> list[Doubt]:
    seen = [
        detection.region_score
        for detection in reading.image.scene.detections
        if _share(region.mask, detection.mask) >= HALF
    ]
    confidence = recall * (1 - max(seen, default=0.0))
    return [reading.doubt("spurious", confidence, region)] if confidence >= SURE_FROM else []


def _missed(reading: _Reading, *, used: set[int]) -> list[Doubt]:
    truth = reading.image.truth
    overlaps = ious([region.mask for region in truth], [detection.mask for detection in reading.finds])
    doubts = []
    for number, find in enumerate(reading.finds):
        if number in used or find.region_score < SURE_FROM or overlaps[:, number].max(initial=0.0) >= MATCHED_IOU:
            continue
        alike = [region.mask for region in truth if region.label == find.class_name]
        if _share(find.mask, np.logical_or.reduce([np.zeros_like(find.mask), *alike])) < HALF:
            doubts.append(reading.doubt("missed", find.region_score, find=find))
    return doubts


def _share(part: Mask, whole: Mask) -> float:
    """Returns the share of `part` that lies in `whole`."""
    return float(np.count_nonzero(part & whole) / max(np.count_nonzero(part), 1))
