"""Checks auto-accept on a sample of images that it would have accepted, but that were left to people."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from backend.auto_accept.gate import Gate
from backend.domain import LabelledMask, LabelScore, Mask
from backend.regions.decode import decode
from training.annotations.approvals import Approved
from training.metrics.binomial import CONFIDENCE, lower_bound
from training.metrics.matching import overlap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audit:
    """The result of an audit: audited images that people approved, the garments predicted there, how many are wrong.

    Attributes:
        precision: the promise: at least this share of regions is right.
    """

    images: int
    regions: int
    wrong: int
    precision: float

    @property
    def breaks_promise(self) -> bool:
        """Whether the promise is broken: the exact lower 95 % bound of the error rate is above `1 - precision`."""
        return lower_bound(self.wrong, self.regions, error=1 - CONFIDENCE) > 1 - self.precision

    @property
    def summary(self) -> str:
        """The result in words, for people."""
        return f"{self.wrong} of {self.regions} audited regions in {self.images} images were wrong"


def audit(
    approved: Sequence[Approved],
    predictions: Mapping[int, Sequence[dict[str, Any]]],
    gate: Gate,
    *,
    precision: float,
    iou: float,
) -> Audit:
    """Compares the predictions that would have been accepted with what people approved in the audited images.

    A predicted garment is right if an approved region of its label, or all of that label together, has an IoU of at
    least `iou` with it: people may divide a garment into other parts than the model. The highest scores choose first,
    and an approved region makes only one prediction right.

    Args:
        predictions: task id → the version's stored regions.
        gate: the version's gate, which decided what is accepted.
    """
    images = regions = wrong = 0
    for annotation in approved:
        stored = predictions.get(annotation.task_id)
        if stored is None or not gate.is_audited(annotation.task_id):
            continue
        predicted = _garments(decode(list(stored))[0])
        if not gate.passes([LabelScore(garment.label, garment.score or 0.0) for garment in predicted]):
            continue
        truth, _ = decode(annotation.result)
        images += 1
        regions += len(predicted)
        wrong += _wrong(predicted, truth, iou)
    return Audit(images, regions, wrong, precision)


def _garments(regions: Sequence[LabelledMask]) -> list[LabelledMask]:
    """Joins regions of the same label and score, which are the parts of one garment."""
    joined: dict[tuple[str, float], Mask] = {}
    for region in regions:
        key = region.label, region.score or 0.0
        joined[key] = joined[key] | region.mask if key in joined else region.mask
    return [LabelledMask(mask, label, score) for (label, score), mask in joined.items()]


def _wrong(predicted: Sequence[LabelledMask], truth: Sequence[LabelledMask], iou: float) -> int:
    """Counts the garments in `predicted` that match nothing that is still free in `truth`."""
    free = list(truth)
    wrong = 0
    for garment in sorted(predicted, key=lambda garment: -(garment.score or 0.0)):
        same_label = [
            region for region in free if region.label == garment.label and region.mask.shape == garment.mask.shape
        ]
        choices = [[region] for region in same_label] + ([same_label] if len(same_label) > 1 else [])
        overlaps = [
            (overlap(garment.mask, np.logical_or.reduce([region.mask for region in regions])), regions)
            for regions in choices
        ]
        best, matched = max(overlaps, key=itemgetter(0), default=(0.0, []))
        if best >= iou:
            free = [region for region in free if not any(region is match for match in matched)]
        else:
            wrong += 1
    return wrong
