"""The folders of trainings and evaluations; few imports, as the worker's main process loads it."""

from __future__ import annotations

import shutil
from pathlib import Path

from redis import Redis
from rq.job import Job

from backend.settings import Settings


def run_folder(settings: Settings, project_id: int) -> Path:
    """Returns the folder of the project's running training, which resumes from it; deleted when the training ends."""
    return settings.data_dir / "training" / str(project_id)


def dataset_folder(settings: Settings, project_id: int) -> Path:
    """Returns the folder of the project's data set, which the next training reuses."""
    return settings.data_dir / "datasets" / str(project_id)


def evaluation_folder(settings: Settings) -> Path:
    """Returns the folder beside which an evaluation stages its pixels; what a killed one leaves there is deleted."""
    return settings.data_dir / "training" / "held_out"


def forget(job: Job, connection: Redis) -> None:
    """Deletes the folder of a cancelled training, so that the next one starts afresh; RQ calls it as `on_stopped`."""
    shutil.rmtree(run_folder(Settings(), int(job.args[0])), ignore_errors=True)
