"""Chooses which detections become regions, and under which label."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import numpy as np

from backend.domain import Detection, LabelledMask
from backend.label_studio.label_config import LabelConfig

logger = logging.getLogger(__name__)

# Two masks with at least this IoU are one garment under two names.
SAME_GARMENT_IOU = 0.7
# Masks are compared on every fourth row and column: enough to tell garments apart, at a sixteenth of the work.
COMPARED_STEP = 4
# Label Studio shows no more digits, and later decisions use the stored score.
SCORE_DIGITS = 4


def select_garments(
    detections: Sequence[Detection], config: LabelConfig, *, default_threshold: float, max_regions: int
) -> list[LabelledMask]:
    """Returns the best `max_regions` detections that reach their label's threshold, under the project's labels.

    Detections of classes without a label, and of labels that the config leaves to people (`model_skip`), are left out.
    Of several detections of one garment, the one with the highest score stays.
    """
    wanted = []
    for detection in detections:
        label = config.label_for(detection.class_name)
        if label is None or config.skips(label) or detection.score < config.threshold_for(label, default_threshold):
            continue
        wanted.append((detection, label))
    labels = {id(detection): label for detection, label in wanted}
    distinct = without_duplicates([detection for detection, _ in wanted])
    if len(distinct) > max_regions:
        logger.warning(
            "%s garments were found in one image, only the best %s are used (MAX_REGIONS)", len(distinct), max_regions
        )
    return [
        LabelledMask(garment.mask, labels[id(garment)], round(garment.region_score, SCORE_DIGITS))
        for garment in distinct[:max_regions]
    ]


def without_duplicates(detections: Sequence[Detection]) -> list[Detection]:
    """Returns the detections, best score first, without those that cover the same pixels as a better detection."""
    ranked = sorted(detections, key=lambda detection: -detection.region_score)
    if len(ranked) < 2:
        return ranked
    masks = [detection.mask[::COMPARED_STEP, ::COMPARED_STEP].ravel() for detection in ranked]
    cells = np.stack(masks).astype(np.float32)
    shared = cells @ cells.T
    areas = np.diag(shared)
    iou = shared / np.maximum(areas[:, None] + areas[None, :] - shared, 1)
    kept: list[int] = []
    for number in range(len(ranked)):
        if all(iou[number, better] < SAME_GARMENT_IOU for better in kept):
            kept.append(number)
    return [ranked[number] for number in kept]


def unknown_labels(config: LabelConfig, classes: Iterable[str]) -> list[str]:
    """Returns the labels that a model of these classes never detects and that the config does not leave to people."""
    detected = {config.label_for(name) for name in classes}
    return [label for label in config.label_values if label not in detected and not config.skips(label)]


def unused_classes(config: LabelConfig, classes: Iterable[str]) -> list[str]:
    """Returns the classes of a model that match no label of the config."""
    return [name for name in classes if config.label_for(name) is None]
