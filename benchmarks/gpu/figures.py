"""One measured figure, the clock that waits for the device, and the table of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        part, what, precision: what was measured.
        batch: images at once.
        median, high: in `unit`; the 95th percentile of times, else None.
        memory_mb: the most that torch held on the GPU meanwhile, the model included; None on a CPU.
        equality: how alike the masks are to those in float32, in `[0, 1]`: IoU, or mask mAP; None if not compared.
    """

    part: str
    what: str
    precision: str
    batch: int
    median: float
    high: float | None
    unit: str
    memory_mb: float | None = None
    equality: float | None = None


@dataclass(frozen=True)
class Clock:
    """Times actions on one device, whose work is over before the clock stops.

    Attributes:
        device: as torch names it.
        rounds: how often each action is timed, after one call that is not.
    """

    device: str
    rounds: int

    def milliseconds(self, action: Callable[[int], object]) -> tuple[float, float]:
        """Median and 95th percentile of `action(1)`, `action(2)`, …, after `action(0)`."""
        action(0)
        taken = []
        for number in range(1, self.rounds + 1):
            self.wait()
            started = time.perf_counter()
            action(number)
            self.wait()
            taken.append(1000 * (time.perf_counter() - started))
        return float(np.median(taken)), float(np.percentile(taken, 95))

    def wait(self) -> None:
        """Waits until the device has done what it was given."""
        if self.is_gpu:
            torch.cuda.synchronize(self.device)

    @property
    def is_gpu(self) -> bool:
        """Whether the device is an NVIDIA GPU."""
        return self.device.startswith("cuda")

    @contextmanager
    def memory(self, figures: list[Figure]) -> Iterator[None]:
        """Writes the most memory that the block took into the figures that it adds."""
        first = len(figures)
        if self.is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        yield
        if self.is_gpu:
            most = torch.cuda.max_memory_allocated(self.device) / 1e6
            figures[first:] = [replace(figure, memory_mb=most) for figure in figures[first:]]


def device_name(device: str) -> str:
    """The card's name; for a CPU 'CPU'."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def figure_table(figures: Sequence[Figure], title: str) -> Table:
    """The figures for a terminal."""
    drawn = Table("part", "what", "precision", "batch", "median", "95th", "unit", "MB", "as float32", title=title)
    for one in figures:
        drawn.add_row(
            one.part,
            one.what,
            one.precision,
            str(one.batch),
            f"{one.median:.4g}",
            "" if one.high is None else f"{one.high:.4g}",
            one.unit,
            "" if one.memory_mb is None else f"{one.memory_mb:.0f}",
            "" if one.equality is None else f"{one.equality:.4f}",
        )
    return drawn
