"""Exact confidence bounds of a share of counted regions."""

from __future__ import annotations

from scipy.stats import beta

CONFIDENCE = 0.95


def lower_bound(right: int, regions: int, *, error: float) -> float:
    """Returns a share's exact one-sided lower bound, wrong with probability <= `error` (Clopper and Pearson 1934)."""
    return float(beta.ppf(error, right, regions - right + 1)) if right else 0.0
