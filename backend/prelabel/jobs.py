"""The RQ jobs that pre-annotate: share tasks out, predict them with the project's model, write back.

Whatever is lost on the way (a job, a worker, all of Redis) is found again by `plan`, which asks Label Studio what has
no prediction yet.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rq import get_current_job

from backend.prelabel.run import Prelabelling
from backend.prelabel.task_claims import Holder
from backend.prelabel.worker_models import worker_models
from backend.queues.queues import CHECK_PATIENCE_S
from backend.settings import Settings
from backend.storage.retry import patiently

logger = logging.getLogger(__name__)


def plan(project_id: int) -> dict[str, int]:
    """Queues every task that nobody has annotated and the current model has not predicted.

    Returns:
        Counts: `tasks` that wait, in how many `jobs`.

    Raises:
        LabelStudioError: Label Studio stayed away, or refuses the key.
        QueueError: Redis is away.
    """
    models = worker_models(Settings())
    models.connections.queues.begin_plan(project_id)
    # Another machine may have promoted, and queued this, a moment ago.
    models.connections.registry.look_anew(project_id)
    if not models.answers(project_id):
        logger.info("Project %s has no model yet: its tasks wait for its first", project_id)
        return {"tasks": 0, "jobs": 0}
    version = models.version(project_id)
    for attempt in patiently(for_s=CHECK_PATIENCE_S):
        with attempt:
            waiting = models.connections.label_studio.waiting_task_ids(project_id, version=version)
    waiting = models.marks.without_failed(project_id, version, waiting)
    jobs = models.connections.queues.enqueue_prelabel(project_id, waiting, version=version)
    logger.info("%s tasks of project %s wait for %s, in %s jobs", len(waiting), project_id, version, len(jobs))
    return {"tasks": len(waiting), "jobs": len(jobs)}


def share_out(project_id: int, task_ids: Sequence[int]) -> dict[str, int]:
    """Queues tasks that were just imported; Label Studio named them, and need not be asked.

    Raises:
        QueueError: Redis is away.
    """
    models = worker_models(Settings())
    if not models.answers(project_id):
        logger.info("Project %s has no model yet: %s tasks wait for its first", project_id, len(task_ids))
        return {"tasks": 0, "jobs": 0}
    jobs = models.connections.queues.enqueue_prelabel(project_id, task_ids, version=models.version(project_id))
    return {"tasks": len(task_ids), "jobs": len(jobs)}


def prelabel(project_id: int, version: str, task_ids: Sequence[int], *, asked: bool = False) -> dict[str, int]:
    """Predicts and stores; a task that has a prediction of this version already is passed over.

    One image that cannot be read, one vanished task or one refused write never stops the rest: each is reported. While
    Label Studio is away the job waits for it.

    Args:
        version: the model that it was queued for, see `Queues.enqueue_prelabel`. Where another is the project's by
            now, nothing is done: that one's jobs are queued.
        asked: somebody wants this version's predictions, whichever is the project's.

    Returns:
        Counts: tasks `written`, of which `accepted` without a person; `skipped`, `failed`.

    Raises:
        LabelStudioError: Label Studio stayed away, or refuses the key.
        LabelConfigError, ModelError: as their names say.
    """
    models = worker_models(Settings())
    models.connections.registry.look_anew(project_id)
    if not asked and (not models.answers(project_id) or models.version(project_id) != version):
        logger.info("%s tasks of project %s are left to a newer model than %s", len(task_ids), project_id, version)
        return {"written": 0, "accepted": 0, "skipped": len(task_ids), "failed": 0}
    job = get_current_job()
    holder = Holder.of(job.id if job else "by hand")
    ours = sorted(models.claims.take(project_id, version, task_ids, holder=holder))
    try:
        work = Prelabelling(models, project_id, ours, holder=holder, queued_for=version, asked=version if asked else "")
        for attempt in patiently():
            with attempt:
                work.run()
    finally:
        models.claims.release(project_id, version, ours, holder=holder)
    counts = work.counts()
    counts["skipped"] += len(task_ids) - len(ours)
    logger.info("Pre-annotated project %s with %s: %s", project_id, version, counts)
    return counts


def write_clusters(project_id: int, version: str, clusters: dict[int, int]) -> dict[str, int]:
    """Writes into `version`'s predictions which group, by task id, their image belongs to.

    Bulk writing cannot say it, and one by one costs Label Studio 20 ms: so it comes after all else, and only where the
    project is served by uncertainty, which alone reads it.

    Raises:
        LabelStudioError: Label Studio stayed away, or refuses the key.
    """
    models = worker_models(Settings())
    written = 0
    for attempt in patiently():
        with attempt:
            for task in models.connections.label_studio.tasks(project_id, list(clusters)):
                for prediction in task.get("predictions") or []:
                    if prediction.get("model_version") == version and prediction.get("cluster") is None:
                        models.connections.label_studio.write_cluster(int(prediction["id"]), clusters[int(task["id"])])
                        written += 1
    return {"written": written}
