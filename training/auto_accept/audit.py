"""What people find in a sample of the images that would have been accepted without them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from backend.auto_accept.gate import Gate
from backend.domain import Certainty, LabelledMask, Mask
from backend.regions.decode import decode
from training.annotations.approvals import Approved
from training.metrics.binomial import CONFIDENCE, lower_bound
from training.metrics.matching import overlap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Audit:
    """What came of it: audited images that people have approved, the regions that were predicted there, the wrong ones.

    Attributes:
        precision: what was promised: the least share that is right.
    """

    images: int
    regions: int
    wrong: int
    precision: float

    @property
    def breaks_promise(self) -> bool:
        """Whether more is wrong than was promised: the exact lower 95 % limit of the error rate lies above it."""
        return lower_bound(self.wrong, self.regions, error=1 - CONFIDENCE) > 1 - self.precision

    @property
    def said(self) -> str:
        """What a person may read."""
        return f"{self.wrong} of {self.regions} audited regions in {self.images} images were wrong"


def audit(
    approved: Sequence[Approved],
    predictions: Mapping[int, Sequence[dict[str, Any]]],
    gate: Gate,
    *,
    precision: float,
    iou: float,
) -> Audit:
    """Compares what would have been accepted with what people approved, in the images that were left to them.

    A region is right where an approved one of its label, or all of that label together, has at least `iou` with it:
    people may cut a garment into other parts than the model. The surest choose first, and what one has taken makes no
    other right.

    Args:
        predictions: the version's stored regions by task id.
        gate: the version's, as it decided.
    """
    images = regions = wrong = 0
    for one in approved:
        stored = predictions.get(one.task_id)
        if stored is None or not gate.is_audited(one.task_id):
            continue
        found = _garments(decode(list(stored))[0])
        if not gate.passes([Certainty(garment.label, garment.score or 0.0) for garment in found]):
            continue
        truth, _ = decode(one.result)
        images += 1
        regions += len(found)
        wrong += _wrong(found, truth, iou)
    return Audit(images, regions, wrong, precision)


def _garments(regions: Sequence[LabelledMask]) -> list[LabelledMask]:
    """Regions of one label and score are the parts of one garment."""
    joined: dict[tuple[str, float], Mask] = {}
    for one in regions:
        key = one.label, one.score or 0.0
        joined[key] = joined[key] | one.mask if key in joined else one.mask
    return [LabelledMask(mask, label, score) for (label, score), mask in joined.items()]


def _wrong(found: Sequence[LabelledMask], truth: Sequence[LabelledMask], iou: float) -> int:
    """How many of `found` fit nothing that is still free in `truth`."""
    free = list(truth)
    wrong = 0
    for garment in sorted(found, key=lambda one: -(one.score or 0.0)):
        alike = [one for one in free if one.label == garment.label and one.mask.shape == garment.mask.shape]
        choices = [[one] for one in alike] + ([alike] if len(alike) > 1 else [])
        fits = [(overlap(garment.mask, np.logical_or.reduce([one.mask for one in ones])), ones) for ones in choices]
        best, taken = max(fits, key=itemgetter(0), default=(0.0, []))
        if best >= iou:
            free = [one for one in free if not any(one is other for other in taken)]
        else:
            wrong += 1
    return wrong
