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
from training.metrics.matching import MatchedDetection, match

# The number of thresholds that are tested per label, each at its share of the 5 % error (Bonferroni), so that the
# promise holds for whichever is chosen.
CANDIDATES = 5


def evidence_for(
    label: str, detections: Iterable[MatchedDetection], *, precision: float, min_score: float = 0.0
) -> Evidence:
    """Finds the lowest of a few thresholds at which the label's regions provably have the precision.

    The thresholds depend on the scores alone, not on which regions are right: so the regions above a threshold, which
    is just above the next best score, are a fair sample of all regions above it.

    Args:
        min_score: the class confidence below which detections were dropped. No threshold is lower, and a region's
            score is at most its class confidence: lowering this limit later adds nothing to what is accepted.
    """
    ranked = sorted(
        (detection for detection in detections if detection.label == label and detection.score >= min_score),
        key=lambda detection: -detection.score,
    )
    error = (1 - CONFIDENCE) / CANDIDATES
    best: Evidence | None = None
    for threshold in _candidates(
        [detection.score for detection in ranked], min_count=_min_count(precision, error), min_score=min_score
    ):
        accepted = [detection for detection in ranked if detection.score >= threshold]
        correct = sum(detection.is_correct for detection in accepted)
        lower = lower_bound(correct, len(accepted), error=error)
        # The thresholds descend: the last one that passes is the lowest.
        if lower >= precision:
            best = Evidence(label, threshold, len(accepted), correct, lower)
    if best is not None:
        return best
    correct = sum(detection.is_correct for detection in ranked)
    return Evidence(label, None, len(ranked), correct, lower_bound(correct, len(ranked), error=1 - CONFIDENCE))


def _min_count(precision: float, error: float) -> int:
    """Returns the fewest regions, all of them right, that prove the precision."""
    return math.ceil(math.log(error) / math.log(precision)) if precision < 1 else 0


def _candidates(scores: Sequence[float], *, min_count: int, min_score: float) -> list[float]:
    """Returns descending thresholds that accept `min_count` to all regions, in equal ratios; `scores` descend."""
    if not min_count or len(scores) < min_count:
        return []
    counts = {round(count) for count in np.geomspace(min_count, len(scores), CANDIDATES)}
    # Just above the next best score; `min_score` accepts all.
    return [float(np.nextafter(scores[count], 2.0)) if count < len(scores) else min_score for count in sorted(counts)]


def calibrate(
    detections: Sequence[MatchedDetection],
    min_scores: Mapping[str, float],
    *,
    images: int,
    precision: float,
    iou: float,
) -> Calibration:
    """Finds the thresholds of all labels, and the shares that they would have accepted.

    Args:
        detections: every detected region on `images` held-out images.
        min_scores: label → the limit that `evidence_for` takes.
    """
    evidence = tuple(
        evidence_for(label, detections, precision=precision, min_score=min_score)
        for label, min_score in min_scores.items()
    )
    gate = Gate("", None, {entry.label: entry.threshold for entry in evidence if entry.threshold is not None}, 0.0)
    by_image: dict[int, list[LabelScore]] = {}
    for detection in detections:
        by_image.setdefault(detection.image, []).append(LabelScore(detection.label, detection.score))
    passing = [scores for scores in by_image.values() if gate.passes(scores)]
    return Calibration(
        precision=precision,
        iou=iou,
        images=images,
        labels=evidence,
        images_accepted=len(passing) / max(images, 1),
        regions_accepted=sum(map(len, passing)) / max(len(detections), 1),
    )


def calibration_on(
    held_out: Sequence[HeldOut], detector: Detector, config: LabelConfig, settings: Settings
) -> Calibration:
    """Calibrates a detector's thresholds on held-out images; see `evidence_for`."""
    detections: list[MatchedDetection] = []
    scenes = detector.detect(
        (held_out_image.image for held_out_image in held_out), min_score=settings.model_score_threshold
    )
    for number, (held_out_image, scene) in enumerate(zip(held_out, scenes, strict=True)):
        regions = select_garments(
            scene.detections, config, default_threshold=settings.model_score_threshold, max_regions=settings.max_regions
        )
        detections += match(number, regions, held_out_image.truth, iou=settings.auto_accept_iou)
    min_scores = {label: config.threshold_for(label, settings.model_score_threshold) for label in config.label_values}
    return calibrate(
        detections,
        min_scores,
        images=len(held_out),
        precision=settings.auto_accept_precision,
        iou=settings.auto_accept_iou,
    )
