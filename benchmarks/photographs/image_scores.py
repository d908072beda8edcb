"""Measures what an image's score tells of what its detector gets wrong there.

Label Studio's uncertainty sampling serves the images with the lowest scores first: they should be those that the
detector knows least.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from backend.detector.yolo11 import ImageDetector
from backend.errors import DatasetError
from backend.label_studio.label_config import LabelConfig
from backend.predict.garments import lowest_threshold, score_of_nothing
from backend.regions.selection import select_garments
from backend.settings import Settings
from training.evaluation.held_out import HeldOut
from training.evaluation.score import MIN_CORRECT_IOU
from training.metrics.matching import match

# From the scores of an image's garments to its own; the first is Drape's.
IMAGE_SCORES: dict[str, Callable[[Sequence[float]], float]] = {
    "lowest of garments": min,
    "mean of garments": lambda scores: sum(scores) / len(scores),
    "highest of garments": max,
    "sum of garments": sum,
}
# The images that are served first.
FIRST_SHARE = 0.2


@dataclass(frozen=True)
class ScoreWorth:
    """How well a kind of image score tells the F1 of the garments in an image.

    Attributes:
        correlation: Spearman's, in `[-1, 1]`; 1 where the lowest score has the lowest F1, and so on.
        first_f1: mean F1 of the images that are served first.
        f1: mean F1 of all images.
    """

    name: str
    correlation: float
    first_f1: float
    f1: float


def measure_image_scores(
    detector: ImageDetector, photographs: Sequence[HeldOut], config: LabelConfig, settings: Settings
) -> list[ScoreWorth]:
    """Returns the worth of each of `IMAGE_SCORES`, from the same detections.

    Raises:
        DatasetError: there are fewer than two photographs, or the detector is as good on all of them.
    """
    images = (photograph.image for photograph in photographs)
    found, f1s = [], []
    for number, scene in enumerate(detector.detect(images, min_score=lowest_threshold(config, settings))):
        garments = select_garments(
            scene.detections, config, default_threshold=settings.model_score_threshold, max_regions=settings.max_regions
        )
        truth = list(photographs[number].truth)
        correct = sum(one.is_correct for one in match(number, garments, truth, iou=MIN_CORRECT_IOU))
        f1s.append(2 * correct / max(len(garments) + len(truth), 1))
        scores = [garment.score or 0.0 for garment in garments]
        found.append(scores or [score_of_nothing(scene, config, settings)])
    if len(set(f1s)) < 2:
        raise DatasetError("The detector is as good on all photographs: nothing tells them apart. Name other weights.")
    f1 = np.array(f1s)
    worths = []
    for name, image_score in IMAGE_SCORES.items():
        scores_of_images = [image_score(scores) for scores in found]
        first = np.argsort(scores_of_images, kind="stable")[: max(1, round(FIRST_SHARE * len(f1)))]
        correlation = float(spearmanr(scores_of_images, f1).statistic)
        worths.append(ScoreWorth(name, correlation, float(f1[first].mean()), float(f1.mean())))
    return worths
