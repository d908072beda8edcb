"""Exact bounds of a share that was counted."""

from __future__ import annotations

from scipy.stats import beta

CONFIDENCE = 0.95


def lower_bound(right: int, regions: int, *, error: float) -> float:
    """Exact lower limit of a share, one-sided, wrong with probability `error` at most (Clopper and Pearson 1934)."""
    return float(beta.ppf(error, right, regions - right + 1)) if right else 0.0
