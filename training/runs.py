"""Where a training works, so that it can go on after it was killed; light, for the worker's own process imports it."""

from __future__ import annotations

import shutil
from pathlib import Path

from redis import Redis
from rq.job import Job

from backend.settings import Settings


def run_folder(settings: Settings, project_id: int) -> Path:
    """The folder of the project's running training; gone when it is over."""
    return settings.data_dir / "training" / str(project_id)


def dataset_folder(settings: Settings, project_id: int) -> Path:
    """The folder of the project's data set, which the next training builds on."""
    return settings.data_dir / "datasets" / str(project_id)


def forget(job: Job, connection: Redis) -> None:
    """What a worker calls when a training was cancelled: the next one does not go on from there."""
    shutil.rmtree(run_folder(Settings(), int(job.args[0])), ignore_errors=True)
