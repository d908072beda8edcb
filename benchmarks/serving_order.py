"""The order in which Label Studio serves images to annotators, and how many labels it saves.

Label Studio's uncertainty sampling serves from the cluster annotated least, and in it the image with the lowest score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from backend.detector.clusters import find_clusters
from backend.detector.yolo11 import Detector
from backend.domain import Photo
from backend.label_studio.label_config import LabelConfig
from backend.predict.batch import image_score
from backend.predict.garments import lowest_threshold, score_of_nothing, stored_garments
from backend.settings import Settings


@dataclass(frozen=True)
class Curve:
    """Mask mAP50-95 after so many labels, for one order and seed, or the mean of several seeds."""

    order: str
    seed: int | None
    labels: tuple[int, ...]
    maps: tuple[float, ...]


@dataclass(frozen=True)
class Saving:
    """Labels that two orders need for the same mask mAP: the best that both reach."""

    mask_map: float
    ours: float
    other: float


def score_and_group(
    detector: Detector,
    images: Iterable[Photo],
    config: LabelConfig,
    settings: Settings,
    *,
    score: Callable[..., float] = image_score,
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Returns the score and the cluster of each image, as its prediction in Label Studio has them.

    Args:
        score: what an image's score is instead, called as `image_score` is.
    """
    scores, features = [], []
    for scene in detector.detect(images, min_score=lowest_threshold(config, settings)):
        garments = stored_garments(scene, config, settings, model_version="")
        found = [garment.label_score for garment in garments]
        scores.append(score(found, nothing=score_of_nothing(scene, config, settings)))
        if scene.features is not None:
            features.append(scene.features)
    clusters = find_clusters(np.stack(features))
    return tuple(scores), tuple(clusters.nearest(one) for one in features)


def served(scores: Sequence[float], clusters: Sequence[int], labelled: Sequence[int], count: int) -> list[int]:
    """Returns the next `count` images: from the cluster annotated least, the lowest score.

    Args:
        scores, clusters: of every image.
        labelled: numbers of the images that are annotated.
    """
    annotated = Counter(clusters[index] for index in labelled)
    waiting = set(range(len(scores))) - set(labelled)
    chosen: list[int] = []
    while len(chosen) < count:
        chosen_index = min(waiting, key=lambda image: (annotated[clusters[image]], scores[image], image))
        waiting.discard(chosen_index)
        annotated[clusters[chosen_index]] += 1
        chosen.append(chosen_index)
    return chosen


def mean_curve(curves: Sequence[Curve], order: str, seed: int | None = None) -> Curve:
    """Returns the curve of one order: that of a seed, or the mean over all seeds."""
    chosen = [curve for curve in curves if curve.order == order and seed in (None, curve.seed)]
    maps = np.mean([curve.maps for curve in chosen], axis=0)
    return Curve(order, seed, chosen[0].labels, tuple(float(value) for value in maps))


def labels_saved(ours: Curve, other: Curve) -> Saving:
    """Returns how many labels each of two orders needs for the best mask mAP that both reach."""
    wanted = min(max(ours.maps), max(other.maps))
    return Saving(wanted, labels_for(ours, wanted), labels_for(other, wanted))


def labels_for(curve: Curve, wanted: float) -> float:
    """Labels at which a curve first reaches a mask mAP, between two rounds by a straight line; infinite where never."""
    if curve.maps[0] >= wanted:
        return curve.labels[0]
    for number in range(1, len(curve.maps)):
        low, high = curve.maps[number - 1], curve.maps[number]
        if high >= wanted:
            before, after = curve.labels[number - 1], curve.labels[number]
            return before + (after - before) * (wanted - low) / (high - low)
    return math.inf
