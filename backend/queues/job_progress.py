"""The state of all queues: the jobs that wait, run and failed, and how far they are."""

from __future__ import annotations

from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.registry import BaseRegistry

from backend.queues.backlog import waiting_tasks
from backend.queues.comparisons import is_comparison
from backend.queues.job_records import failure_reason, open_jobs, tasks_left
from backend.queues.queues import PRELABEL, QUEUES, TRAIN, Jobs
from backend.queues.redis_connection import redis_errors, workers_of
from backend.telemetry.request_ids import JOB_META

MAX_FAILED = 50


def snapshot(redis: Redis) -> dict[str, Any]:
    """The jobs that wait, run and failed, with the progress of running jobs: for `GET /status`.

    Of failed jobs, each queue's newest 50 (`MAX_FAILED`) and the number of all: thousands would take seconds to read.

    Raises:
        QueueError: Redis does not answer.
    """
    with redis_errors():
        queues = {name: Queue(name, connection=redis) for name in QUEUES}
        return {
            "waiting": {name: len(queue) for name, queue in queues.items()},
            "tasks_to_prelabel": _tasks_to_prelabel(queues[PRELABEL]),
            "running": [job for queue in queues.values() for job in _described(queue.started_job_registry)],
            "failed": [
                job
                for queue in queues.values()
                for job in _described(queue.failed_job_registry, end=MAX_FAILED - 1, desc=True)
            ],
            "failed_jobs": {
                name: queue.failed_job_registry.get_job_count(cleanup=False) for name, queue in queues.items()
            },
            "last_training": [
                job for job in _described(queues[TRAIN].finished_job_registry) if not is_comparison(job["id"])
            ],
            "workers": [
                {"name": worker.name, "state": str(worker.get_state()), "queues": worker.queue_names()}
                for worker in workers_of(redis)
            ],
        }


def _tasks_to_prelabel(queue: Queue) -> dict[str, int]:
    """Project id → number of tasks that wait, or are in open jobs and neither done nor failed yet."""
    left = waiting_tasks(queue.connection, "prelabel")
    for job in open_jobs(queue):
        if job.func_name == Jobs.PRELABEL:
            project = str(job.args[0])
            left[project] = left.get(project, 0) + tasks_left(job)
    return left


def _described(registry: BaseRegistry, *, end: int = -1, desc: bool = False) -> list[dict[str, Any]]:
    # Without RQ's clean-up: a worker may be putting a lost job back at this moment, and the job would wait twice.
    job_ids = registry.get_job_ids(end=end, desc=desc, cleanup=False)
    return [_describe(job) for job in Job.fetch_many(job_ids, connection=registry.connection) if job is not None]


def _describe(job: Job) -> dict[str, Any]:
    reason = failure_reason(job)
    progress = job.get_meta()
    # The request id is no progress: it is reported in its own field.
    of_request = progress.pop(JOB_META, "")
    # `look_after` has no arguments, as it is for all projects.
    return {
        "id": job.id,
        "queue": job.origin,
        "project": next(iter(job.args), None),
        "progress": progress,
        **({"request_id": of_request} if of_request else {}),
        **({"reason": reason} if reason else {}),
    }
