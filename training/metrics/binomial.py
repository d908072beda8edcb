"""Exact confidence bounds of a share of counted regions."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import beta

CONFIDENCE = 0.95


def lower_bound(right: float, regions: float, *, error: float) -> float:
    """Returns a share's exact one-sided lower bound, wrong with probability <= `error` (Clopper and Pearson 1934)."""
    return float(beta.ppf(error, right, regions - right + 1)) if right else 0.0


def lower_bound_over_images(right: float, regions: Sequence[int], *, error: float) -> float:
    """Returns the lower bound of the share of regions, where those of one image may all be right or wrong together.

    Then they say no more than `(sum n)² / sum n²` independent regions (Kish 1965, Survey Sampling: the effective
    sample size under unequal weights), and the bound is that of so many.

    Args:
        right: number of all right regions, or of those that are expected.
        regions: number of regions of each image.
    """
    if not right:
        return 0.0
    total = sum(regions)
    effective = total**2 / sum(count**2 for count in regions)
    return lower_bound(effective * right / total, effective, error=error)
