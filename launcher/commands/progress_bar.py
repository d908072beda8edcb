"""Progress bars for loops, and for jobs that workers run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.queues.backlog import Progress as BacklogProgress

POLL_S = 1.0
T = TypeVar("T")


@dataclass(frozen=True)
class Bars:
    """A bar for each of several loops."""

    progress: Progress

    def track(self, items: Iterable[T], title: str, *, total: int | None = None) -> Iterator[T]:
        """Yields the items, and shows how many were dealt with.

        Args:
            total: their number, where the items do not know it.
        """
        task = self.progress.add_task(title, total=len(items) if isinstance(items, Sized) else total)
        for item in items:
            yield item
            self.progress.advance(task)


@contextmanager
def bars(console: Console) -> Iterator[Bars]:
    """Shows bars for as long as the block lasts.

    Rich's own `track` waits for a thread when Python disposes of a loop that an error has left. Python may do so in the
    thread that draws the bars, which that thread waits for: the command would not end.
    """
    with Progress(console=console) as progress:
        yield Bars(progress)


def show_progress(poll: Callable[[], BacklogProgress], *, total: int, title: str, console: Console) -> BacklogProgress:
    """Shows a bar until the work has ended, and returns the last state. Ctrl-C ends the bar, not the jobs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)
        while True:
            progress = poll()
            bar.update(task, completed=total - min(progress.left, total))
            if progress.ended:
                return progress
            time.sleep(POLL_S)
