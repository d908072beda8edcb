"""Finds doubts: approved annotations that a model contradicts with confidence.

After ObjectLab (Tkachenko, Thyagarajan and Mueller 2023), which detects overlooked, swapped and badly located boxes.
This module uses masks, and adds regions that the model does not see. A doubt may also be the model's mistake. A model
contradicts annotations less if it was trained on them, so the images should be new to it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from backend.domain import Detection, LabelledMask, Mask, Scene
from backend.regions.selection import without_duplicates
from training.metrics.binomial import CONFIDENCE, lower_bound
from training.metrics.matching import MATCHED_IOU, Pair, ious, label_pairs, overlap

Kind = Literal["missed", "spurious", "wrong class", "poor border"]

# The lowest score of a detection that can contradict an annotation, and the lowest confidence of a contradiction.
MIN_SCORE = 0.25
MIN_CONFIDENCE = 0.5
SAME_PLACE_IOU = 0.8
GOOD_BORDER_IOU = 0.75
MAX_DOUBTS = 50
HALF = 0.5


@dataclass(frozen=True)
class EvaluatedImage:
    """An image: its ground truth and a model's detections; all masks have the same size."""

    task_id: int
    annotation_id: int
    truth: Sequence[LabelledMask]
    scene: Scene


@dataclass(frozen=True)
class Doubt:
    """A region, or a place without a region, that the model contradicts.

    Attributes:
        image: the image's index in the list of images.
        confidence: how strongly the model contradicts, in `[0, 1]`; see `find_doubts`.
        region: the approved region; None if the person missed a garment.
        detection: the model's detection there; None if there is none.
        iou: the IoU of both; None if there is only one.
    """

    kind: Kind
    image: int
    task_id: int
    annotation_id: int
    confidence: float
    region: LabelledMask | None = None
    detection: Detection | None = None
    iou: float | None = None


@dataclass(frozen=True)
class _MatchedImage:
    """An image, its detections without duplicates, and their pairs with regions of the same label."""

    number: int
    image: EvaluatedImage
    detections: tuple[Detection, ...]
    pairs: tuple[Pair, ...]

    def doubt(
        self,
        kind: Kind,
        confidence: float,
        region: LabelledMask | None = None,
        detection: Detection | None = None,
        iou: float | None = None,
    ) -> Doubt:
        """Returns a doubt about this image."""
        image = self.image
        return Doubt(kind, self.number, image.task_id, image.annotation_id, confidence, region, detection, iou)


def find_doubts(images: Iterable[EvaluatedImage], *, limit: int = MAX_DOUBTS) -> list[Doubt]:
    """Returns the `limit` strongest doubts, strongest first.

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
        images: preferably images that the model was not trained on. They are gone through twice, one at a time: the
            masks of all would take gigabytes.
    """
    regions, detected = _counts(_matched(images))
    doubts = (doubt for matched in _matched(images) for doubt in _doubts(matched, regions, detected))
    return heapq.nsmallest(limit, doubts, key=lambda doubt: (-doubt.confidence, doubt.task_id))


def _matched(images: Iterable[EvaluatedImage]) -> Iterator[_MatchedImage]:
    return (_match(number, image) for number, image in enumerate(images))


def _doubts(matched: _MatchedImage, regions: Mapping[str, int], detected: Mapping[str, int]) -> list[Doubt]:
    """Returns the doubts about an image, given each label's regions in all images and how many were detected."""
    doubts: list[Doubt] = []
    paired = {pair.region: pair for pair in matched.pairs}
    for number, region in enumerate(matched.image.truth):
        if number in paired:
            doubts += _poor_border(matched, paired[number])
        else:
            other_regions = regions[region.label] - 1
            recall = lower_bound(detected[region.label], other_regions, error=1 - CONFIDENCE) if other_regions else 0.0
            doubts += _wrong_class(matched, region) or _spurious(matched, region, recall=recall)
    return [*doubts, *_missed(matched, paired={pair.detection for pair in matched.pairs})]


def _match(number: int, image: EvaluatedImage) -> _MatchedImage:
    detections = without_duplicates([detection for detection in image.scene.detections if detection.score >= MIN_SCORE])
    pairs = label_pairs(
        [(region.mask, region.label) for region in image.truth],
        [(detection.mask, detection.class_name) for detection in detections],
    )
    return _MatchedImage(number, image, tuple(detections), tuple(pairs))


def _counts(matched_images: Iterable[_MatchedImage]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Counts the regions of each label, and how many of them were detected."""
    regions: Counter[str] = Counter()
    detected: Counter[str] = Counter()
    for matched in matched_images:
        labels = [region.label for region in matched.image.truth]
        regions.update(labels)
        detected.update(labels[pair.region] for pair in matched.pairs)
    return regions, detected


def _poor_border(matched: _MatchedImage, pair: Pair) -> list[Doubt]:
    region, detection = matched.image.truth[pair.region], matched.detections[pair.detection]
    if region.kind == "rectangle" or detection.region_score < MIN_CONFIDENCE:
        return []
    iou = max(pair.iou, overlap(detection.mask, _joined_regions(detection, matched.image.truth)))
    if iou >= GOOD_BORDER_IOU:
        return []
    return [
        matched.doubt("poor border", detection.region_score * (1 - iou) / (1 - MATCHED_IOU), region, detection, iou)
    ]


def _joined_regions(detection: Detection, truth: Sequence[LabelledMask]) -> Mask:
    """Unites the regions of the detection's label that lie half or more in it: people may draw a garment in parts."""
    parts = [
        region.mask
        for region in truth
        if region.label == detection.class_name and _share(region.mask, detection.mask) >= HALF
    ]
    return np.logical_or.reduce([np.zeros_like(detection.mask), *parts])


def _wrong_class(matched: _MatchedImage, region: LabelledMask) -> list[Doubt]:
    candidates = [
        (detection, iou)
        for detection in matched.detections
        if detection.class_name != region.label and (iou := overlap(detection.mask, region.mask)) >= SAME_PLACE_IOU
    ]
    if not candidates:
        return []
    best, iou = max(candidates, key=lambda candidate: candidate[0].region_score)
    own_scores = [
        detection.region_score
        for detection in matched.image.scene.detections
        if detection.class_name == region.label and overlap(detection.mask, region.mask) >= MATCHED_IOU
    ]
    confidence = best.region_score - max(own_scores, default=0.0)
    return [matched.doubt("wrong class", confidence, region, best, iou)] if confidence >= MIN_CONFIDENCE else []


def _spurious(matched: _MatchedImage, region: LabelledMask, *, recall: float) -> list[Doubt]:
    scores = [
        detection.region_score
        for detection in matched.image.scene.detections
        if _share(region.mask, detection.mask) >= HALF
    ]
    confidence = recall * (1 - max(scores, default=0.0))
    return [matched.doubt("spurious", confidence, region)] if confidence >= MIN_CONFIDENCE else []


def _missed(matched: _MatchedImage, *, paired: set[int]) -> list[Doubt]:
    truth = matched.image.truth
    overlaps = ious([region.mask for region in truth], [detection.mask for detection in matched.detections])
    doubts = []
    for number, detection in enumerate(matched.detections):
        if (
            number in paired
            or detection.region_score < MIN_CONFIDENCE
            or overlaps[:, number].max(initial=0.0) >= MATCHED_IOU
        ):
            continue
        same_label = [region.mask for region in truth if region.label == detection.class_name]
        if _share(detection.mask, np.logical_or.reduce([np.zeros_like(detection.mask), *same_label])) < HALF:
            doubts.append(matched.doubt("missed", detection.region_score, detection=detection))
    return doubts


def _share(part: Mask, whole: Mask) -> float:
    """Returns the share of `part` that lies in `whole`."""
    return float(np.count_nonzero(part & whole) / max(np.count_nonzero(part), 1))
