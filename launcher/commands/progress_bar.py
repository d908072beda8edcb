"""A progress bar for jobs that workers run."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from backend.queues.backlog import Progress as BacklogProgress

POLL_S = 1.0


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
