"""Finds the score from which a label's regions may be accepted with the promised precision."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from backend.auto_accept.calibration import Calibration, Evidence
from backend.auto_accept.gate import Gate
from backend.detector.yolo11 import Detector
from backend.domain import LabelScore
from backend.label_studio.label_config import LabelConfig
from backend.regions.selection import select_garments
from backend.settings import Settings
from training.evaluation.held_out import HeldOut
from training.metrics.binomial import CONFIDENCE, lower_bound
from training.metrics.matching import Matched, match

# The number of thresholds that are tested per label, each at its share of the 5 % error (Bonferroni), so that the
# promise holds for whichever is chosen.
CANDIDATES = 5


def evidence_for(label: str, judged: Iterable[Matched], *, precision: float, lowest: float = 0.0) -> Evidence:
    """Finds the lowest of a few thresholds at which the label's regions provably have the precision.

    The thresholds depend on the scores alone, not on which regions are right: so the regions above a threshold, which
    is just above the next best score, are a fair sample of all regions above it.

    Args:
        lowest: the class confidence below which detections were dropped. No threshold is lower, and a region's score is
            at most its class confidence: lowering this limit later adds nothing to what is accepted.
    """
    ranked = sorted(
        (detection for detection in judged if detection.label == label and detection.score >= lowest),
        key=lambda detection: -detection.score,
    )
    error = (1 - CONFIDENCE) / CANDIDATES
    best: Evidence | None = None
    for threshold in _candidates(
        [detection.score for detection in ranked], least=_least(precision, error), lowest=lowest
    ):
        above = [detection for detection in ranked if detection.score >= threshold]
        right = sum(detection.right for detection in above)
        bound = lower_bound(right, len(above), error=error)
        # The thresholds descend: the last one that passes is the lowest.
        if bound >= precision:
            best = Evidence(label, threshold, len(above), right, bound)
    if best is not None:
        return best
    right = sum(detection.right for detection in ranked)
    return Evidence(label, None, len(ranked), right, lower_bound(right, len(ranked), error=1 - CONFIDENCE))


def _least(precision: float, error: float) -> int:
    """Returns the fewest regions, all of them right, that prove the precision."""
    return math.ceil(math.log(error) / math.log(precision)) if precision < 1 else 0


def _candidates(scores: Sequence[float], *, least: int, lowest: float) -> list[float]:
    """Returns descending thresholds that accept from `least` to all regions, in equal ratios; `scores` descend too."""
    if not least or len(scores) < least:
        return []
    counts = {round(count) for count in np.geomspace(least, len(scores), CANDIDATES)}
    # Just above the next best score; `lowest` accepts all.
    return [float(np.nextafter(scores[count], 2.0)) if count < len(scores) else lowest for count in sorted(counts)]


def calibrate(
    judged: Sequence[Matched], lowest: Mapping[str, float], *, images: int, precision: float, iou: float
) -> Calibration:
    """Finds the thresholds of all labels, and the shares that they would have accepted.

    Args:
        judged: every detected region on `images` held-out images.
        lowest: label → the limit that `evidence_for` takes.
    """
    evidence = tuple(evidence_for(label, judged, precision=precision, lowest=least) for label, least in lowest.items())
    gate = Gate("", None, {entry.label: entry.threshold for entry in evidence if entry.threshold is not None}, 0.0)
    by_image: dict[int, list[LabelScore]] = {}
    for detection in judged:
        by_image.setdefault(detection.image, []).append(LabelScore(detection.label, detection.score))
    passing = [ones for ones in by_image.values() if gate.passes(ones)]
    return Calibration(
        precision=precision,
        iou=iou,
        images=images,
        labels=evidence,
        images_accepted=len(passing) / max(images, 1),
        regions_accepted=sum(map(len, passing)) / max(len(judged), 1),
    )


def calibration_on(
    held_out: Sequence[HeldOut], detector: Detector, config: LabelConfig, settings: Settings
) -> Calibration:
    """Calibrates a detector's thresholds on held-out images; see `evidence_for`."""
    judged: list[Matched] = []
    scenes = detector.detect(
        (held_out_image.image for held_out_image in held_out), min_score=settings.model_score_threshold
    )
    for number, (held_out_image, scene) in enumerate(zip(held_out, scenes, strict=True)):
        found = select_garments(
            scene.detections, config, default_threshold=settings.model_score_threshold, max_regions=settings.max_regions
        )
        judged += match(number, found, held_out_image.truth, iou=settings.auto_accept_iou)
    lowest = {label: config.threshold_for(label, settings.model_score_threshold) for label in config.label_values}
    return calibrate(
        judged, lowest, images=len(held_out), precision=settings.auto_accept_precision, iou=settings.auto_accept_iou
    )
