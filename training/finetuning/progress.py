"""Reports a training's progress in its job (and so in `GET /status`), in the log and in the worker's terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rq import get_current_job

logger = logging.getLogger(__name__)


@contextmanager
def shown_progress(title: str) -> Iterator[Callable[[TrainingProgress], None]]:
    """Yields the function to call after each epoch; shows a progress bar meanwhile, if there is a terminal."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[summary]}"), TimeRemainingColumn()
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        row = bar.add_task(title, total=None, summary="")

        def report(progress: TrainingProgress) -> None:
            summary = f"epoch {progress.epoch} of {progress.epochs}, {_brief(progress.metrics)}"
            bar.update(row, completed=progress.epoch, total=progress.epochs, summary=summary)
            logger.info("%s: %s, %.0f s left", title, summary, progress.seconds_left)
            job = get_current_job()
            if job is not None:
                # A training that was killed, or ran out of memory, may repeat epochs: their old values are dropped.
                before = job.meta.get("curve", [])[: progress.epoch - 1]
                curve = [*before, progress.metrics.get("mask_map50_95", 0.0)]
                job.meta.update(asdict(progress), curve=curve)
                job.save_meta()

        yield report


def _brief(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())


@dataclass(frozen=True)
class TrainingProgress:
    """A training's progress: epochs done and in all, mean losses, metrics so far, seconds left at this pace."""

    epoch: int
    epochs: int
    losses: dict[str, float]
    metrics: dict[str, float]
    seconds_left: float


@dataclass(frozen=True)
class ProgressFile:
    """A report function for any process: appends the progress after each epoch as a line to a file."""

    path: Path

    def __call__(self, progress: TrainingProgress) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(progress)) + "\n")
