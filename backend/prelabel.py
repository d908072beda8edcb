"""The RQ job that pre-annotates: predicts some tasks of a project with its current model, and writes back."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any

from rq import get_current_job

from backend.detectors import Detectors
from backend.errors import DrapeError, LabelStudioError
from backend.images import ImageStore
from backend.label_config import parse_label_config
from backend.labelstudio import LabelStudio
from backend.metrics import Metrics
from backend.pipeline import Batch, Outcome
from backend.problems import Problems
from backend.queues import Queues
from backend.registry import Registry
from backend.segmenters import choose
from backend.settings import Settings
from backend.wire import Task

logger = logging.getLogger(__name__)

WRITE_TASKS = 16


def prelabel(project_id: int, task_ids: Sequence[int]) -> dict[str, int]:
    """Predicts and stores; a task that has a prediction of the current version already is passed over.

    One image that cannot be read, one vanished task or one refused write never stops the rest: each is reported.

    Returns:
        Counts: `written`, `skipped`, `failed`.

    Raises:
        LabelStudioError: Label Studio is away, so that nothing can be done.
    """
    settings = Settings()
    label_studio = LabelStudio(settings)
    registry = Registry(settings.models_path)
    problems = Problems(Queues(settings).redis)
    if registry.champion(project_id) is None and not settings.may_read_words:
        logger.info("Project %s has no model yet: %s tasks wait for its first", project_id, len(task_ids))
        return {"written": 0, "skipped": len(task_ids), "failed": 0}
    project = label_studio.project(project_id)
    config = parse_label_config(project.label_config)
    batch = Batch(
        settings,
        images=ImageStore(settings, bearer=label_studio.bearer),
        detectors=Detectors(registry, settings),
        segmenter=functools.cache(lambda: choose(settings, Metrics())),
    )
    version = batch.model_version(project_id, config)
    if version is None:
        logger.info("Project %s has no model yet, and nothing here reads words", project_id)
        return {"written": 0, "skipped": len(task_ids), "failed": 0}
    present = label_studio.tasks(project_id, task_ids)
    for vanished in sorted(set(task_ids) - {int(task["id"]) for task in present}):
        problems.report("The task is gone.", project_id=project_id, task_id=vanished)
    open_tasks = [Task.model_validate(task) for task in present if not _has_prediction(task, version)]
    counts = {"written": 0, "skipped": len(present) - len(open_tasks), "failed": len(task_ids) - len(present)}
    finished: list[Outcome] = []
    for outcome in batch.predict(open_tasks, config, project_id=project_id):
        if outcome.problem:
            problems.report(outcome.problem, project_id=project_id, task_id=outcome.task_id)
            counts["failed"] += 1
        else:
            finished.append(outcome)
        if len(finished) >= WRITE_TASKS:
            _write(label_studio, problems, project_id, finished, counts)
            finished = []
            _show_progress(counts, total=len(task_ids))
    _write(label_studio, problems, project_id, finished, counts)
    _show_progress(counts, total=len(task_ids))
    # Not at the promotion: Label Studio refuses a version of which it holds no prediction yet.
    if counts["written"] and project.model_version != version:
        label_studio.show_model_version(project_id, version)
    logger.info("Pre-annotated project %s with %s: %s", project_id, version, counts)
    return counts


def _has_prediction(task: dict[str, Any], version: str) -> bool:
    return any(prediction.get("model_version") == version for prediction in task.get("predictions") or [])


def _write(
    label_studio: LabelStudio, problems: Problems, project_id: int, outcomes: list[Outcome], counts: dict[str, int]
) -> None:
    pairs = [(outcome.task_id, outcome.prediction) for outcome in outcomes if outcome.prediction]
    try:
        label_studio.write_predictions(project_id, pairs)
        counts["written"] += len(pairs)
        return
    except LabelStudioError as e:
        logger.warning("Writing %s predictions at once failed, trying one by one: %s", len(pairs), e)
    for pair in pairs:
        try:
            label_studio.write_predictions(project_id, [pair])
            counts["written"] += 1
        except DrapeError as e:
            problems.report(f"The prediction was not stored: {e}", project_id=project_id, task_id=pair[0])
            counts["failed"] += 1


def _show_progress(counts: dict[str, int], *, total: int) -> None:
    job = get_current_job()
    if job is not None:
        job.meta.update(counts, total=total)
        job.save_meta()
