"""What a benchmark measures: one row a comparison, and the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        ours, other: medians, in `unit`.
        ratio: above 1 where ours is better.
        n: how many measurements a median is of.
    """

    name: str
    ours: float
    other: float
    ratio: float
    unit: str
    n: int


def timed(action: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """Median and 95th percentile of `action(round)`, in seconds; a first call is not counted."""
    action(0)
    taken = []
    for number in range(rounds):
        started = time.perf_counter()
        action(number)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken)), float(np.percentile(taken, 95))
