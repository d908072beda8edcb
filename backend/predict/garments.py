"""From what a detector found in an image to the garments that are stored.

Predictions are made here, and so is the evidence of what may be accepted without a person: both hold the same regions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backend.domain import LabelScore, Scene
from backend.label_studio.label_config import LabelConfig
from backend.regions.encode import encode
from backend.regions.selection import select_garments
from backend.settings import Settings


@dataclass(frozen=True)
class StoredGarment:
    """A garment with its regions: Label Studio result dictionaries, one or more."""

    label_score: LabelScore
    regions: list[dict[str, Any]]


def lowest_threshold(config: LabelConfig, settings: Settings) -> float:
    """The lowest threshold of all labels of the config: the least score that the detector has to report."""
    default = settings.model_score_threshold
    thresholds = [config.threshold_for(label, default) for label in config.label_values if not config.skips(label)]
    return min(thresholds, default=default)


def score_of_nothing(scene: Scene, config: LabelConfig, settings: Settings) -> float:
    """The score of an image in which nothing is stored: the confidence of its best find below the threshold.

    Returns:
        In `[0, 1]`; 0 if the detector tells nothing below the threshold.
    """
    scores = [(config.label_for(name), score) for name, score in scene.class_scores.items()]
    # A find may reach its threshold and still have no region, being a speck.
    below = [
        min(score, config.threshold_for(label, settings.model_score_threshold))
        for label, score in scores
        if label is not None and not config.skips(label)
    ]
    return max(below, default=0.0)


def stored_garments(
    scene: Scene,
    config: LabelConfig,
    settings: Settings,
    *,
    model_version: str,
    original_wh: tuple[int, int] | None = None,
) -> list[StoredGarment]:
    """Returns the garments of an image, best score first, with the regions that are stored for them.

    A garment whose mask gives no region is left out.

    Args:
        scene: what the detector reports from `lowest_threshold`.
        original_wh: size of the photograph in pixels, if the detector got a smaller picture of it.
    """
    garments = select_garments(
        scene.detections, config, default_threshold=settings.model_score_threshold, max_regions=settings.max_regions
    )
    stored = []
    for garment in garments:
        regions = encode(
            garment, config, outlining=settings.outlining, model_version=model_version, original_wh=original_wh
        )
        if regions:
            stored.append(StoredGarment(LabelScore(garment.label, garment.score or 0.0), regions))
    return stored
