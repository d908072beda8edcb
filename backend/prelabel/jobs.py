"""The RQ jobs that pre-annotate: they share tasks out, predict them with the project's model, and write predictions.

`plan` makes up for any loss (a job, a worker, all of Redis): it asks Label Studio which tasks have no prediction yet.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rq import get_current_job

from backend.errors import DrapeError, QueueError
from backend.prelabel.run import Prelabelling
from backend.prelabel.task_claims import Holder
from backend.prelabel.worker_models import worker_models
from backend.queues.job_function import job_function
from backend.queues.queues import CHECK_RETRY_S
from backend.settings import Settings
from backend.storage.retry import retrying

logger = logging.getLogger(__name__)


@job_function
def plan(project_id: int) -> dict[str, int]:
    """Queues every task that nobody has annotated and the current model has not predicted.

    Returns:
        The number of `tasks` that wait.

    Raises:
        LabelStudioError: Label Studio did not answer in time, or refuses the key.
        QueueError: Redis does not answer.
    """
    models = worker_models(Settings())
    models.connections.queues.begin_plan(project_id)
    # Another machine may have promoted a version, and queued this job, a moment ago.
    models.connections.registry.look_anew(project_id)
    if not models.answers(project_id):
        logger.info("Project %s has no model yet: its tasks wait for its first", project_id)
        return {"tasks": 0}
    version = models.version(project_id)
    for attempt in retrying(timeout_s=CHECK_RETRY_S):
        with attempt:
            waiting = models.connections.label_studio.waiting_task_ids(project_id, version=version)
    waiting = models.marks.without_failed(project_id, version, waiting)
    models.connections.queues.prelabelling(project_id, version=version).add(waiting)
    logger.info("%s tasks of project %s wait for %s", len(waiting), project_id, version)
    return {"tasks": len(waiting)}


@job_function
def share_out(project_id: int, task_ids: Sequence[int]) -> dict[str, int]:
    """Queues tasks that were just imported; the webhook named them, so Label Studio is not asked.

    Raises:
        QueueError: Redis does not answer.
    """
    models = worker_models(Settings())
    if not models.answers(project_id):
        logger.info("Project %s has no model yet: %s tasks wait for its first", project_id, len(task_ids))
        return {"tasks": 0}
    models.connections.queues.prelabelling(project_id, version=models.version(project_id)).add(task_ids)
    return {"tasks": len(task_ids)}


@job_function
def prelabel(project_id: int, version: str, task_ids: Sequence[int], *, asked: bool = False) -> dict[str, int]:
    """Predicts tasks and stores the predictions; skips tasks that have a prediction of this version already.

    An unreadable image, a deleted task or a refused write is reported, and does not stop the rest. While Label Studio
    does not answer, the job retries.

    Args:
        version: the model that the job was queued for, see `Queues.prelabelling`. If the project's model is another
            by now, the job does nothing: jobs for that model are queued.
        asked: a person asked for this version's predictions, whichever version is the project's model.

    Returns:
        Counts of tasks: `written`, of which `accepted` without a person; `skipped`, `failed`.

    Raises:
        LabelStudioError: Label Studio did not answer in time, or refuses the key.
        LabelConfigError, ModelError: the label config or the model cannot be used.
    """
    models = worker_models(Settings())
    backlog = models.connections.queues.prelabelling(project_id, version=version, asked=asked)
    # First of all, so that the other tasks are worked on even if this job fails.
    backlog.queue_next()
    models.connections.registry.look_anew(project_id)
    if not asked and (not models.answers(project_id) or models.version(project_id) != version):
        logger.info("%s tasks of project %s are left to a newer model than %s", len(task_ids), project_id, version)
        backlog.drop()
        return {"written": 0, "accepted": 0, "skipped": len(task_ids), "failed": 0}
    job = get_current_job()
    holder = Holder.of(job.id if job else "by hand")
    claimed = models.claims.take(project_id, version, task_ids, holder=holder)
    claimed_ids = sorted(claimed.taken)
    work = Prelabelling(
        models,
        project_id,
        claimed_ids,
        holder=holder,
        queued_for=version,
        asked=version if asked else "",
        contested=set(claimed.inherited),
    )
    try:
        for attempt in retrying():
            with attempt:
                work.run()
    except QueueError:
        # Says nothing about the other tasks, and of those that a person asked for no plan knows.
        raise
    except DrapeError:
        # The project's other tasks would fail in the same way; the next plan adds them again.
        backlog.drop()
        raise
    finally:
        models.claims.release(project_id, version, claimed_ids, holder=holder)
        if work.accepted:
            # The backend passes over the events of single ones, of which there may be thousands.
            models.connections.queues.enqueue_check(project_id)
    counts = work.counts()
    counts["skipped"] += len(task_ids) - len(claimed_ids)
    backlog.count(done=len(task_ids) - counts["failed"], failed=counts["failed"])
    logger.info("Pre-annotated project %s with %s: %s", project_id, version, counts)
    return counts


@job_function
def write_clusters(project_id: int, version: str, clusters: dict[int, int]) -> dict[str, int]:
    """Writes cluster numbers, given by task id, into `version`'s predictions.

    Predictions written in bulk have no cluster, and each single update takes Label Studio 20 ms. So this job runs after
    all else, and only in projects that use uncertainty sampling, which alone reads the cluster.

    Raises:
        LabelStudioError: Label Studio did not answer in time, or refuses the key.
    """
    models = worker_models(Settings())
    written = 0
    for attempt in retrying():
        with attempt:
            for task in models.connections.label_studio.tasks(project_id, list(clusters)):
                for prediction in task.get("predictions") or []:
                    if prediction.get("model_version") == version and prediction.get("cluster") is None:
                        models.connections.label_studio.write_cluster(int(prediction["id"]), clusters[int(task["id"])])
                        written += 1
    return {"written": written}
