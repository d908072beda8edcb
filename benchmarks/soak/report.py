"""What a soak came to, as a table, as JSON and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from benchmarks.soak.overload import Overload

# Models and caches are loaded by then, as they are asked for.
SETTLED_S = 300.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds that something took, so many times."""

    count: int
    median_ms: float
    p95_ms: float
    p99_ms: float
    most_ms: float


@dataclass(frozen=True)
class Memory:
    """Megabytes of a part: the median of the first and the last fifth once it has settled, and its growth an hour."""

    settled_mb: float
    last_mb: float
    most_mb: float
    growth_mb_an_hour: float


@dataclass(frozen=True)
class Report:
    """All results of a soak.

    Attributes:
        idle_click_ms: median of clicks at the backend, one after another, before the load began.
        broken: what did not hold in the end.
        machine: its limits, in words.
    """

    machine: str
    annotators: int
    minutes: float
    idle_click_ms: float
    idle_click_iou: float
    taken: dict[str, Latency]
    memory: dict[str, Memory]
    load_average: float
    submitted: int
    imported: int
    trainings: int
    clicks_right: int
    clicks_wrong: list[str]
    errors: list[str]
    broken: list[str]
    problems: list[str]
    overload: Overload | None
    settled_after_s: float
    memory_mb: dict[str, list[tuple[float, float]]]
    latency_ms: dict[str, list[tuple[float, float]]]


def latency_of(pairs: Sequence[tuple[float, float]]) -> Latency:
    """Of pairs of a moment and milliseconds."""
    values = [ms for _, ms in pairs]
    median, p95, p99 = np.percentile(values, (50, 95, 99))
    return Latency(len(values), float(median), float(p95), float(p99), max(values))


def memory_of(pairs: Sequence[tuple[float, float]], *, settled_after_s: float) -> Memory:
    """Of pairs of seconds and megabytes."""
    settled = [(at_s, mb) for at_s, mb in pairs if at_s >= settled_after_s] or list(pairs)
    times, used = np.array([at_s for at_s, _ in settled]), np.array([mb for _, mb in settled])
    fifth = max(len(used) // 5, 1)
    slope = float(np.polyfit(times, used, 1)[0]) if len(used) > 2 else 0.0
    return Memory(float(np.median(used[:fifth])), float(np.median(used[-fifth:])), float(used.max()), 3600 * slope)


def table(report: Report) -> Table:
    """For a terminal."""
    table_ = Table("what", "n", "median ms", "95th", "99th", "most", title=report.machine)
    for what, timing in report.taken.items():
        table_.add_row(
            what,
            str(timing.count),
            f"{timing.median_ms:.0f}",
            f"{timing.p95_ms:.0f}",
            f"{timing.p99_ms:.0f}",
            f"{timing.most_ms:.0f}",
        )
    return table_


def memory_table(report: Report) -> Table:
    """For a terminal."""
    drawn = Table("memory of", f"MB after {report.settled_after_s:.0f} s", "at the end", "most", "MB an hour")
    for name, usage in report.memory.items():
        drawn.add_row(
            name,
            f"{usage.settled_mb:.0f}",
            f"{usage.last_mb:.0f}",
            f"{usage.most_mb:.0f}",
            f"{usage.growth_mb_an_hour:+.0f}",
        )
    return drawn


def sentences(report: Report) -> list[str]:
    """Returns the other results as lines of text."""
    lines = [
        f"{report.annotators} annotators for {report.minutes:.0f} minutes; load average {report.load_average:.1f}; "
        f"an idle click takes {report.idle_click_ms:.0f} ms (IoU with the drawn garment {report.idle_click_iou:.2f}).",
        f"{report.submitted} submitted, {report.imported} imported, {report.trainings} trainings.",
        f"Clicks: {report.clicks_right} answered as an idle service does, {len(report.clicks_wrong)} otherwise.",
        f"{len(report.errors)} errors, {len(report.broken)} broken invariants, {len(report.problems)} problems.",
    ]
    lines += [f"Error: {error}" for error in report.errors[:10]]
    lines += [f"Different answer: {click}" for click in report.clicks_wrong[:5]]
    lines += [f"Broken invariant: {broken}" for broken in report.broken]
    lines += [f"Problem: {problem}" for problem in report.problems[:10]]
    overload = report.overload
    if overload is not None:
        recovered = "never" if overload.recovered_s is None else f"after {overload.recovered_s:.1f} s"
        clicks_ms, hooks_ms, bare_ms = overload.click_ms_50_95, overload.webhook_ms_50_99, overload.bare_ms_50_99
        lines.append(
            f"Overload, {overload.asked_at_once} at once for {overload.seconds:.0f} s: clicks {overload.clicks}, whole "
            f"images {overload.batches} (status: times; unanswered: {overload.unanswered}), "
            f"{overload.without_retry_after} refusals without Retry-After, {overload.wrong} wrong; "
            f"clicks {clicks_ms[0]:.0f} ms (95th {clicks_ms[1]:.0f}), "
            f"{overload.webhooks} webhooks {hooks_ms[0]:.0f} ms (99th {hooks_ms[1]:.0f}; where nothing is "
            f"done {bare_ms[0]:.0f}, 99th {bare_ms[1]:.0f}); recovered {recovered}."
        )
    return lines


def plot(
    latency_ms: Mapping[str, Sequence[tuple[float, float]]],
    memory_mb: Mapping[str, Sequence[tuple[float, float]]],
    path: Path,
) -> None:
    """Writes a PNG: what everything took, and memory, over minutes."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    times, memory = figure.subplots(2, 1, sharex=True)
    for what, pairs in latency_ms.items():
        times.plot([at / 60 for at, _ in pairs], [ms for _, ms in pairs], ".", markersize=3, label=what)
    times.set_yscale("log")
    times.set_ylabel("ms")
    for name, pairs in memory_mb.items():
        memory.plot([at / 60 for at, _ in pairs], [mb for _, mb in pairs], label=name)
    memory.set_ylabel("MB")
    memory.set_ylim(bottom=0)
    memory.set_xlabel("minutes")
    for axes in (times, memory):
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
