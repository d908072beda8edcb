"""Means of metrics that some labels or images do not have."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def mean_defined(values: Iterable[float | None]) -> float | None:
    """Returns the mean of the values that are not None; None if there are none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
