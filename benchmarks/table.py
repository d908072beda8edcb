"""Rows of a benchmark: ours against another way, measured in one run; the table of them and its JSON."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        name: what is compared with what.
        ours, other: medians or means, in `unit`.
        ratio: above 1 means ours is better, whether more or less of the unit is better.
        n: how often each was measured.
        ours_95, other_95: 95th percentiles in `unit`; None where the figures are no times.
    """

    name: str
    ours: float
    other: float
    ratio: float
    unit: str
    n: int
    ours_95: float | None = None
    other_95: float | None = None


class Timing(NamedTuple):
    """How long something took over `rounds`, in seconds."""

    median_s: float
    high_s: float
    rounds: int


def timed(action: Callable[[int], object], rounds: int, *, before: Callable[[], object] = lambda: None) -> Timing:
    """Median and 95th percentile of `action(0)`, `action(1)`, …, after one call of `action(0)` that does not count.

    Args:
        before: called before each, and not timed.
    """
    action(0)
    taken = []
    for number in range(rounds):
        before()
        started = time.perf_counter()
        action(number)
        taken.append(time.perf_counter() - started)
    return Timing(float(np.median(taken)), float(np.percentile(taken, 95)), rounds)


def faster(name: str, ours: Timing, other: Timing) -> Row:
    """The row of two timings, in milliseconds; its `n` is the smaller number of rounds."""
    return Row(
        name=name,
        ours=1000 * ours.median_s,
        other=1000 * other.median_s,
        ratio=other.median_s / ours.median_s,
        unit="ms",
        n=min(ours.rounds, other.rounds),
        ours_95=1000 * ours.high_s,
        other_95=1000 * other.high_s,
    )


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, the ratio first."""
    ours, other = _figure(row.ours, row.ours_95), _figure(row.other, row.other_95)
    return f"{row.ratio:.2f}", row.name, ours, other, row.unit, str(row.n)


def table(rows: list[Row]) -> Table:
    """The rows for a terminal, the ratio first."""
    drawn = Table("times better", "what", "ours", "other", "unit", "n", title="ours against the other way")
    for row in rows:
        drawn.add_row(*cells(row))
    return drawn


def write_json(rows: Sequence[Any], path: Path) -> None:
    """Writes the rows, each an instance of a dataclass, as a list of objects, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    fresh.replace(path)


def _figure(middle: float, high: float | None) -> str:
    return f"{middle:.4g}" if high is None else f"{middle:.4g} (95th {high:.4g})"
