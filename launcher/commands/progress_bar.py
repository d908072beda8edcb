"""Progress bars for loops, and for jobs that workers run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from backend.queues.backlog import Progress as BacklogProgress
from backend.queues.comparisons import StudentJob

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


def show_students(poll: Callable[[], Sequence[StudentJob]], names: Sequence[str], console: Console) -> dict[str, str]:
    """Shows a bar for each student of a comparison until none waits or runs; Ctrl-C ends the bars, not the jobs.

    Returns:
        The students that failed, each with the reason.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=console) as bar:
        tasks = {name: bar.add_task(name, total=None, start=False, said="waits") for name in names}
        while True:
            jobs = {job.student: job for job in poll()}
            for name, task in tasks.items():
                _show_student(bar, task, jobs.get(name))
            if not any(job.is_open for job in jobs.values()):
                return {name: job.reason for name, job in jobs.items() if job.reason}
            time.sleep(POLL_S)


def _show_student(bar: Progress, task: TaskID, job: StudentJob | None) -> None:
    progress = job.progress if job is not None else {}
    epoch, epochs = int(progress.get("epoch", 0)), int(progress.get("epochs", 0))
    if job is None or not job.is_open:
        bar.start_task(task)
        bar.update(task, total=1, completed=1, said=_ended(job))
    elif job.is_running and epochs:
        bar.start_task(task)
        left = f"{progress.get('seconds_left', 0):.0f} s of training left" if epoch < epochs else "is judged"
        bar.update(task, total=epochs, completed=epoch, said=f"epoch {epoch} of {epochs}, {left}")
    elif job.is_running:
        bar.update(task, said="begins")


def _ended(job: StudentJob | None) -> str:
    # A job that Redis has forgotten may have been cancelled.
    return "ended" if job is None else "failed" if job.reason else "judged"


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
