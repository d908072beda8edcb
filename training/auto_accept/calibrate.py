"""Finds the scores from which images may be accepted with the promised precision.

A third of the held-out images chooses a few gates, and the other images test them. So the test is of what would be
accepted, the regions of images that pass as a whole, and under thresholds that were fixed before. The gates are tested
one after another, the most promising first, until one fails. Then the error is at most 5 % without a correction for
their number: "split fixed sequence testing" of Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei 2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backend.auto_accept.calibration import Calibration, Evidence, conditions
from backend.auto_accept.gate import Gate
from backend.detector.yolo11 import ImageDetector
from backend.domain import LabelledMask, LabelScore
from backend.label_studio.label_config import LabelConfig
from backend.predict.garments import StoredGarment, lowest_threshold, stored_garments
from backend.settings import Settings
from training.annotations.truth import truth_of
from training.evaluation.held_out import HeldOut
from training.metrics.binomial import CONFIDENCE, lower_bound_over_images
from training.metrics.matching import MatchedDetection, match

# Every third image chooses, the others test.
CHOOSING = 3
# A label with fewer regions than this among the images that choose is left to people.
MIN_REGIONS = 20
GATES = 5


@dataclass(frozen=True)
class _Image:
    """The detected regions of one image."""

    regions: tuple[MatchedDetection, ...]

    @cached_property
    def label_scores(self) -> tuple[LabelScore, ...]:
        return tuple(LabelScore(region.label, region.score) for region in self.regions)

    @cached_property
    def right(self) -> int:
        return sum(region.is_correct for region in self.regions)


def calibrate(
    detections: Sequence[MatchedDetection], labels: Sequence[str], *, images: int, settings: Settings
) -> Calibration:
    """Chooses thresholds and tests them.

    Args:
        detections: every region found on `images` held-out images, each image's index being in `range(images)`.
        labels: the labels of the label config.
        settings: say what is promised.
    """
    precision = settings.auto_accept_precision
    choosing, testing = _split(detections)
    ranked = sorted(
        _gates(choosing, labels, precision),
        key=lambda thresholds: -_bound(_accepted(choosing, thresholds), times=CHOOSING - 1),
    )
    thresholds, accepted = ranked[0], _accepted(testing, ranked[0])
    passed = False
    for gate in ranked:
        would_accept = _accepted(testing, gate)
        if _bound(would_accept) < precision:
            break
        # All that were tested so far keep the promise: the one that accepts most is taken.
        if not passed or len(would_accept) > len(accepted):
            thresholds, accepted = gate, would_accept
        passed = True
    return Calibration(
        precision=precision,
        iou=settings.auto_accept_iou,
        conditions=conditions(settings),
        images=images,
        test_images=images - len(range(0, images, CHOOSING)),
        needed_images=math.ceil(math.log(1 - CONFIDENCE) / math.log(precision)),
        accepted_images=len(accepted),
        accepted_regions=sum(len(image.regions) for image in accepted),
        right_regions=sum(image.right for image in accepted),
        bound=_bound(accepted),
        labels=tuple(
            _evidence(label, thresholds.get(label) if passed else None, accepted, [*choosing, *testing])
            for label in labels
        ),
    )


def _split(detections: Sequence[MatchedDetection]) -> tuple[list[_Image], list[_Image]]:
    """Returns the images in which something was found: those that choose, and those that test."""
    by_image: dict[int, list[MatchedDetection]] = {}
    for detection in detections:
        by_image.setdefault(detection.image, []).append(detection)
    choosing = [_Image(tuple(found)) for number, found in by_image.items() if number % CHOOSING == 0]
    return choosing, [_Image(tuple(found)) for number, found in by_image.items() if number % CHOOSING]


def _gates(images: Sequence[_Image], labels: Sequence[str], precision: float) -> list[dict[str, float]]:
    """Returns gates (label → threshold) from lenient to strict, by the share of right regions that each label had.

    A gate's shares are no more than a guess: a region's image must pass as a whole, and these images chose the gate.
    """
    regions = [region for image in images for region in image.regions]
    by_label = {label: [region for region in regions if region.label == label] for label in labels}
    gates = []
    for share in np.linspace(precision, 1, GATES):
        lowest = {label: _lowest_score(found, share) for label, found in by_label.items()}
        gates.append({label: score for label, score in lowest.items() if score is not None})
    return gates


def _lowest_score(regions: Sequence[MatchedDetection], share: float) -> float | None:
    """Returns the lowest score from which at least `share` of a label's regions are right; None if there is none."""
    if len(regions) < MIN_REGIONS:
        return None
    scores = np.array([region.score for region in regions])
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.array([region.is_correct for region in regions])[order]
    shares = np.cumsum(right) / np.arange(1, len(scores) + 1)
    # Equal scores are in or out together.
    last_of_its_score = np.append(scores[:-1] != scores[1:], True)
    enough = np.flatnonzero(last_of_its_score & (shares >= share))
    return float(scores[enough[-1]]) if len(enough) else None


def _accepted(images: Sequence[_Image], thresholds: Mapping[str, float]) -> list[_Image]:
    gate = Gate("", None, thresholds, 0.0)
    return [image for image in images if gate.passes(image.label_scores)]


def _bound(images: Sequence[_Image], *, times: int = 1) -> float:
    """Returns the lower 95 % bound of the share of right regions in images, or in `times` as many like these."""
    return lower_bound_over_images(
        times * sum(image.right for image in images),
        [len(image.regions) for image in images] * times,
        error=1 - CONFIDENCE,
    )


def _evidence(
    label: str, threshold: float | None, accepted: Sequence[_Image], all_images: Sequence[_Image]
) -> Evidence:
    images = all_images if threshold is None else accepted
    right = [region.is_correct for image in images for region in image.regions if region.label == label]
    return Evidence(label, threshold, len(right), sum(right))


def calibration_on(
    held_out: Sequence[HeldOut], detector: ImageDetector, config: LabelConfig, settings: Settings
) -> Calibration:
    """Calibrates a detector's thresholds on held-out images; see `calibrate`."""
    detections = matched_detections(held_out, detector, config, settings)
    return calibrate(detections, config.label_values, images=len(held_out), settings=settings)


def matched_detections(
    held_out: Sequence[HeldOut], detector: ImageDetector, config: LabelConfig, settings: Settings
) -> list[MatchedDetection]:
    """Returns what would be stored for the held-out images, and whether it is right.

    All is found and stored as predictions are: a polygon may be less than its mask.
    """
    detections: list[MatchedDetection] = []
    scenes = detector.detect(
        (held_out_image.image for held_out_image in held_out), min_score=lowest_threshold(config, settings)
    )
    for number, (held_out_image, scene) in enumerate(zip(held_out, scenes, strict=True)):
        garments = stored_garments(scene, config, settings, model_version="")
        shown = _shown(garments, config, held_out_image.image.size_wh)
        detections += match(number, shown, held_out_image.truth, iou=settings.auto_accept_iou)
    return detections


def _shown(garments: Sequence[StoredGarment], config: LabelConfig, size_wh: tuple[int, int]) -> list[LabelledMask]:
    """Returns each garment as an annotation of all these regions would show it, `bool (H, W)`; nothing of a hidden one.

    Read as the ground truth is: where a label is exclusive, later regions hide parts of earlier ones.
    """
    annotated = truth_of([region for garment in garments for region in garment.regions], config).garments
    masks = {garment.region_id: garment.mask for garment in annotated}
    nothing = np.zeros(size_wh[::-1], bool)
    return [
        LabelledMask(
            np.logical_or.reduce([nothing, *(masks.get(region["id"], nothing) for region in garment.regions)]),
            garment.label_score.label,
            garment.label_score.score,
        )
        for garment in garments
    ]
