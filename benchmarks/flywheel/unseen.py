"""What a model does with figures that nobody labels: how well it finds, what it would accept, what it leaves to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from backend.auto_accept.gate import gate_of
from backend.compute.devices import pick_device
from backend.detector.average_precision import average_precisions, instances
from backend.detector.detector_pool import load_detector
from backend.domain import LabelScore
from backend.label_studio.label_config import LabelConfig
from backend.regions.selection import select_garments
from backend.registry.registry import Version
from backend.settings import Settings
from benchmarks.flywheel.annotators import Correction, correct
from benchmarks.flywheel.vocabulary import truth_renamed
from benchmarks.parts.next_label import HELD_OUT, HELD_OUT_FROM, Figures, draw

# Average precision counts all that a model finds, the surest first; below this nothing changes it any more.
MIN_EVALUATED_SCORE = 0.01


@dataclass(frozen=True)
class UnseenResult:
    """What became of them.

    Attributes:
        mask_map50_95: in `[0, 1]`; 0 without a model.
        images_accepted, regions_accepted: shares that the gate would accept without a person, in `[0, 1]`.
        corrections: what an annotator would have to do, image by image.
    """

    mask_map50_95: float
    images_accepted: float
    regions_accepted: float
    corrections: tuple[Correction, ...]


def unseen_figures(folder: Path) -> Figures:
    """A hundred figures of other seeds than those that are labelled, drawn into `folder`."""
    seeds = range(HELD_OUT_FROM, HELD_OUT_FROM + HELD_OUT)
    return replace(draw(folder, seeds), truth=tuple(truth_renamed(seed) for seed in seeds))


def evaluate_unseen(version: Version | None, figures: Figures, config: LabelConfig, settings: Settings) -> UnseenResult:
    """Has a version predict the figures as the service does; None stands for no model, which finds nothing.

    Args:
        settings: say what the gate promises, see `backend.auto_accept.gate`.

    Raises:
        ModelError: the weights do not load.
    """
    if version is None:
        return UnseenResult(0.0, 0.0, 0.0, tuple(correct((), truth) for truth in figures.truth))
    detector = load_detector(version, device=pick_device(settings.device)).detector
    gate = gate_of(version, settings)
    detected, corrections, passes = [], [], []
    scenes = detector.detect(figures.images, min_score=MIN_EVALUATED_SCORE)
    for truth, scene in zip(figures.truth, scenes, strict=True):
        detected.append(instances(scene.detections))
        shown = select_garments(
            scene.detections, config, default_threshold=settings.model_score_threshold, max_regions=settings.max_regions
        )
        corrections.append(correct(shown, truth))
        passes.append(gate.passes([LabelScore(region.label, region.score or 0.0) for region in shown]))
    precisions = average_precisions([instances(truth) for truth in figures.truth], detected)
    return UnseenResult(
        float(np.mean(list(precisions.values()))),
        float(np.mean(passes)),
        _regions_accepted(corrections, passes),
        tuple(corrections),
    )


def _regions_accepted(corrections: Sequence[Correction], passing: Sequence[bool]) -> float:
    shown = [correction.shown for correction in corrections]
    return sum(count for count, passes in zip(shown, passing, strict=True) if passes) / max(sum(shown), 1)
