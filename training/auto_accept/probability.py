"""How likely a region of a label and a score is right: logistic calibration (Platt 1999), with labels partially pooled.

Each label has an offset of its own, drawn towards the mean of all labels by a normal prior (Gelman and Hill 2007, Data
Analysis Using Regression and Multilevel/Hierarchical Models): the fewer regions it has, the more. So a label with few
held-out regions borrows from the others instead of counting for nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from training.metrics.matching import MatchedDetection

Floats = npt.NDArray[np.float64]

# Standard deviations of the priors, in logits: of a label's offset, and of what all labels share.
OFFSET_DEVIATION, SHARED_DEVIATION = 1.0, 10.0
# Scores of exactly 0 and 1 have no logit.
LEAST_SCORE = 1e-4


@dataclass(frozen=True)
class Probability:
    """The fit: `expit(intercept + slope * logit(score) + offset of the label)`; `slope` is not negative."""

    labels: tuple[str, ...]
    intercept: float
    slope: float
    offsets: tuple[float, ...]

    def of(self, regions: Sequence[MatchedDetection]) -> Floats:
        """Returns how likely each region is right, in `[0, 1]`; 0 for labels that the fit does not know."""
        known = np.array([region.label in self.labels for region in regions], bool)
        numbers = [self.labels.index(region.label) if region.label in self.labels else 0 for region in regions]
        offsets = np.array([*self.offsets, 0.0])[numbers]
        probable = expit(self.intercept + self.slope * _logits(regions) + offsets)
        return np.asarray(np.where(known, probable, 0.0), np.float64)


def fit_probability(regions: Sequence[MatchedDetection], labels: Sequence[str]) -> Probability:
    """Fits the regions of `labels`; those of others are left out."""
    names = tuple(labels)
    regions = [region for region in regions if region.label in names]
    if not regions:
        return Probability((), 0.0, 0.0, ())
    scores = _logits(regions)
    right = np.array([region.is_correct for region in regions], np.float64)
    numbers = np.array([names.index(region.label) for region in regions])
    deviations = np.array([SHARED_DEVIATION] * 2 + [OFFSET_DEVIATION] * len(names))

    def loss(values: Floats) -> tuple[float, Floats]:
        logits = values[0] + values[1] * scores + values[2:][numbers]
        error = expit(logits) - right
        slopes = [error.sum(), (error * scores).sum(), *np.bincount(numbers, error, len(names))]
        likelihood = np.logaddexp(0, logits).sum() - (right * logits).sum()
        return likelihood + ((values / deviations) ** 2).sum() / 2, np.array(slopes) + values / deviations**2

    # A higher score never means less: else a threshold would accept the wrong side.
    bounds = [(None, None), (0, None), *[(None, None)] * len(names)]
    found: Any = minimize(loss, np.zeros(len(deviations)), jac=True, method="L-BFGS-B", bounds=bounds)
    intercept, slope, *offsets = (float(value) for value in found.x)
    return Probability(names, intercept, slope, tuple(offsets))


def _logits(regions: Sequence[MatchedDetection]) -> Floats:
    scores = np.array([region.score for region in regions], np.float64)
    return np.asarray(logit(np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)), np.float64)
