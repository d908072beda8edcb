"""Checks auto-accept on a sample of images that it would have accepted, but that were left to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from backend.auto_accept.gate import Gate
from backend.domain import LabelledMask, LabelScore
from backend.label_studio.label_config import LabelConfig
from backend.regions.decode import shapes
from training.annotations.approvals import Approved
from training.annotations.truth import truth_of
from training.metrics.binomial import CONFIDENCE, lower_bound_over_images
from training.metrics.matching import overlap


@dataclass(frozen=True)
class AuditedImage:
    """An image that `version` would have accepted: the garments that it predicted there, and how many are wrong."""

    version: str
    regions: int
    wrong: int


@dataclass(frozen=True)
class Audit:
    """The audited images that people approved.

    Attributes:
        precision: the promise: at least this share of regions is right.
    """

    images: tuple[AuditedImage, ...]
    precision: float

    @property
    def regions(self) -> int:
        """The number of garments that were predicted in all images."""
        return sum(image.regions for image in self.images)

    @property
    def wrong(self) -> int:
        """How many of them are wrong."""
        return sum(image.wrong for image in self.images)

    @property
    def breaks_promise(self) -> bool:
        """Whether the promise is broken: the lower 95 % bound of the error rate is above `1 - precision`."""
        counts = [image.regions for image in self.images]
        return lower_bound_over_images(self.wrong, counts, error=1 - CONFIDENCE) > 1 - self.precision

    @property
    def summary(self) -> str:
        """The result in words, for people."""
        return f"{self.wrong} of {self.regions} audited regions in {len(self.images)} images were wrong"

    def of(self, versions: Sequence[str]) -> Audit:
        """The part that is about these versions."""
        return Audit(tuple(image for image in self.images if image.version in versions), self.precision)

    def breach(self, versions: Sequence[str]) -> tuple[str, ...]:
        """The versions that break the promise, alone or together; empty where it is kept.

        The audits of one version are few, so those of its predecessors count with it. Each is looked at alone, too: the
        good ones do not excuse a bad one.

        Args:
            versions: names, a version's predecessor after it.
        """
        alone = [(version,) for version in versions]
        together = [tuple(versions[:count]) for count in range(2, len(versions) + 1)]
        return next((some for some in [*alone, *together] if self.of(some).breaks_promise), ())


def audit(
    approved: Sequence[Approved],
    predictions: Mapping[int, Mapping[str, Sequence[dict[str, Any]]]],
    gates: Sequence[Gate],
    config: LabelConfig,
    *,
    precision: float,
    iou: float,
) -> Audit:
    """Compares the predictions that would have been accepted with what people approved in the audited images.

    An image counts once, for the first version that would have accepted it: a later version does not predict it again
    once it is accepted.

    A predicted garment is right if an approved garment of its label, or all of that label together, has an IoU of at
    least `iou` with it: people may divide a garment into other parts than the model. The highest scores choose first,
    and an approved garment makes only one prediction right. An image in which garments have no outline tells nothing.

    Args:
        predictions: task id → version → its stored regions.
        gates: the gates of these versions, the oldest first.
        config: the project's label config, by which predictions and approvals are read.
    """
    images = []
    for annotation in approved:
        stored = predictions.get(annotation.task_id, {})
        accepting = (
            gate.version
            for gate in gates
            if gate.version in stored
            and gate.is_audited(annotation.task_id)
            and gate.passes(_label_scores(stored[gate.version], config))
        )
        version = next(accepting, None)
        if version is None:
            continue
        truth = truth_of(annotation.result, config)
        if not truth.is_partial:
            predicted = truth_of(stored[version], config).garments
            images.append(AuditedImage(version, len(predicted), _wrong(predicted, truth.garments, iou)))
    return Audit(tuple(images), precision)


def _label_scores(regions: Sequence[dict[str, Any]], config: LabelConfig) -> list[LabelScore]:
    """Returns the label and the score of each stored region; the gate's labels are those of the config, not aliases."""
    return [
        LabelScore(config.label_of(shape.label or ""), shape.region.get("score") or 0.0)
        for shape in shapes(regions).values()
    ]


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
