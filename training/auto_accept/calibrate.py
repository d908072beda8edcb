"""Finds the scores from which images may be accepted with the promised precision.

A region's score and label say how likely it is right (`probability`), and an image is as sure as its least sure region.
A few gates, each a least probability for all labels together, are tested on every held-out image; the probability of an
image's regions is always that of a fit to other images (cross-fitting), so that each image is evidence once. The gates
are tested one after another, the most promising by these probabilities first, until one fails. Then the error is at
most 5 % without a correction for their number: "fixed sequence testing" of Learn then Test (Angelopoulos, Bates,
Candès, Jordan and Lei 2021).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.auto_accept.calibration import Calibration, Evidence, conditions
from backend.detector.sam_detectors import RefinedDetector
from backend.detector.yolo11 import ImageDetector
from backend.domain import LabelledMask
from backend.label_studio.label_config import LabelConfig
from backend.predict.garments import StoredGarment, lowest_threshold, stored_garments
from backend.segmenters.builtin.network import load_builtin
from backend.settings import Settings
from training.annotations.truth import truth_of
from training.auto_accept.probability import fit_probability
from training.evaluation.held_out import HeldOut
from training.metrics.binomial import CONFIDENCE, lower_bound_over_images
from training.metrics.matching import MatchedDetection, match

# The probabilities of a fifth of the images come from the other images.
FOLDS = 5
# A label with fewer held-out regions than this is left to people.
MIN_REGIONS = 10
# The shares of the images that a gate keeps out, those that are the least sure.
KEPT_OUT = (0.0, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class _Image:
    """The detected regions of one image, and how likely each is right."""

    regions: tuple[MatchedDetection, ...]
    probabilities: tuple[float, ...]

    @property
    def probability(self) -> float:
        """That of the least sure region."""
        return min(self.probabilities)

    @property
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
    count = Counter(detection.label for detection in detections)
    frequent = [label for label in labels if count[label] >= MIN_REGIONS]
    found = _images(detections, frequent)
    least, accepted = 0.0, list[_Image]()
    passed = False
    for level in _ranked(found):
        would_accept = [image for image in found if image.probability >= level]
        if _bound(would_accept) < precision:
            if not passed:
                accepted = would_accept
            break
        # All that were tested so far keep the promise: the one that accepts most is taken.
        if not passed or len(would_accept) > len(accepted):
            least, accepted = level, would_accept
        passed = True
    thresholds = _thresholds(detections, frequent, least) if passed else {}
    # A label that is in no accepted image was not tested, however sure a fit to all images is of it.
    tested = {region.label for image in accepted for region in image.regions}
    thresholds = {label: score for label, score in thresholds.items() if label in tested}
    return Calibration(
        precision=precision,
        iou=settings.auto_accept_iou,
        conditions=conditions(settings),
        images=images,
        needed_images=math.ceil(math.log(1 - CONFIDENCE) / math.log(precision)),
        accepted_images=len(accepted),
        accepted_regions=sum(len(image.regions) for image in accepted),
        right_regions=sum(image.right for image in accepted),
        bound=_bound(accepted),
        labels=tuple(_evidence(label, thresholds.get(label), accepted, found) for label in labels),
    )


def _images(detections: Sequence[MatchedDetection], labels: Sequence[str]) -> list[_Image]:
    """Returns the images in which something was found, each with the probability that a fit to others gives it."""
    by_image: dict[int, list[MatchedDetection]] = {}
    for detection in detections:
        by_image.setdefault(detection.image, []).append(detection)
    images = []
    for fold in range(FOLDS):
        fit = fit_probability([each for each in detections if each.image % FOLDS != fold], labels)
        for number, regions in by_image.items():
            if number % FOLDS == fold:
                images.append(_Image(tuple(regions), tuple(fit.of(regions))))
    return images


def _ranked(images: Sequence[_Image]) -> list[float]:
    """Returns the least probability of each gate, the most promising first: as if probabilities were true."""
    # An image with a rare label is left to people by every gate.
    probabilities = [image.probability for image in images if image.probability > 0]
    if not probabilities:
        return []
    levels = {float(level) for level in np.quantile(probabilities, KEPT_OUT, method="lower")}

    def promise(level: float) -> float:
        accepted = [image for image in images if image.probability >= level]
        expected = sum(map(sum, (image.probabilities for image in accepted)))
        return lower_bound_over_images(expected, [len(image.regions) for image in accepted], error=1 - CONFIDENCE)

    return sorted(levels, key=promise, reverse=True)


def _thresholds(detections: Sequence[MatchedDetection], labels: Sequence[str], least: float) -> dict[str, float]:
    """Returns for each label the lowest score seen that is as probable, by a fit to all images; none where there is no
    such score."""
    probable = fit_probability(detections, labels).of(detections)
    thresholds: dict[str, float] = {}
    for detection, probability in zip(detections, probable, strict=True):
        if detection.label in labels and probability >= least:
            thresholds[detection.label] = min(detection.score, thresholds.get(detection.label, 1.0))
    return thresholds


def _bound(images: Sequence[_Image]) -> float:
    """Returns the lower 95 % bound of the share of right regions."""
    right = sum(image.right for image in images)
    return lower_bound_over_images(right, [len(image.regions) for image in images], error=1 - CONFIDENCE)


def _evidence(
    label: str, threshold: float | None, accepted: Sequence[_Image], all_images: Sequence[_Image]
) -> Evidence:
    images = all_images if threshold is None else accepted
    right = [region.is_correct for image in images for region in image.regions if region.label == label]
    return Evidence(label, threshold, len(right), sum(right))


def calibration_on(
    held_out: Sequence[HeldOut], detector: ImageDetector, config: LabelConfig, settings: Settings
) -> Calibration:
    """Calibrates a detector's thresholds on held-out images, with the masks that `REFINE` asks for; see `calibrate`.

    Raises:
        ModelError: the network that refines masks does not load.
    """
    detections = matched_detections(held_out, with_masks_refined(detector, settings), config, settings)
    return calibrate(detections, config.label_values, images=len(held_out), settings=settings)


def with_masks_refined(detector: ImageDetector, settings: Settings) -> ImageDetector:
    """Returns the detector with the masks that `REFINE` asks for, so far as Drape's own network draws them.

    Raises:
        ModelError: the network does not load.
    """
    return RefinedDetector(detector, load_builtin()) if settings.refine == "builtin" else detector


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
