"""How long a student may learn: minutes of training alone, or epochs; and the clock that measures it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Epochs that are expected before the first seconds tell how long one takes.
UNKNOWN_EPOCHS = 1000


@dataclass(frozen=True)
class Budget:
    """The same for every student: minutes of training, or epochs; one of them is None.

    Raises:
        ValueError: both are given, or none, or it is not above zero.
    """

    minutes: float | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.epochs is None):
            raise ValueError("A budget is either minutes or epochs.")
        if (self.minutes or self.epochs or 0) <= 0:
            raise ValueError("A budget is more than nothing.")

    def __str__(self) -> str:
        if self.epochs is not None:
            return f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}"
        return f"{self.minutes:g} minute{'' if self.minutes == 1 else 's'} of training"


class Clock:
    """Measures the seconds of training alone: neither reading the data set, nor checkpoints, nor judging."""

    def __init__(self, budget: Budget, *, seconds: float = 0.0) -> None:
        """`seconds`: what was trained before the training was interrupted."""
        self._budget = budget
        self._before = seconds
        self._started: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._before + (time.perf_counter() - self._started if self._started is not None else 0.0)

    def start(self) -> None:
        """Begins to measure; does nothing where it runs."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop(self) -> None:
        """Ends measuring until it is started again."""
        self._before, self._started = self.seconds, None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measures the block."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def progress(self, epochs_done: float) -> float:
        """Returns the used share of the budget, from 0; 1 or more where it is used up."""
        if self._budget.epochs is not None:
            return epochs_done / self._budget.epochs
        return self.seconds / (60 * (self._budget.minutes or 0))

    def expected_epochs(self, epochs_done: float) -> int:
        """Returns how many epochs it will be at this pace, begun ones included."""
        if self._budget.epochs is not None:
            return self._budget.epochs
        used = self.progress(epochs_done)
        return max(1, math.ceil(epochs_done / used)) if used and epochs_done else UNKNOWN_EPOCHS

    def seconds_left(self, epochs_done: float) -> float:
        """Returns the seconds of training that are left at this pace."""
        used = self.progress(epochs_done)
        return max(0.0, self.seconds * (1 - used) / used) if used else 0.0
