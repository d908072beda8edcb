"""The progress that RQ jobs report, and why they failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job

from backend.queues.job_records import OPEN_STATES, open_jobs
from backend.queues.queues import PRELABEL, QUEUES, TRAIN
from backend.queues.redis_connection import redis_errors, workers_of
from backend.telemetry.request_ids import JOB_META


@dataclass(frozen=True)
class JobProgress:
    """Tasks that are `done` and that `failed`; number of jobs that wait or run; why whole jobs failed."""

    done: int
    failed: int
    open_jobs: int
    reasons: tuple[str, ...]


def progress_of(redis: Redis, job_ids: Sequence[str]) -> JobProgress:
    """The progress of the jobs, by their own counts; a job without a record counts as ended.

    Raises:
        QueueError: Redis does not answer.
    """
    with redis_errors():
        jobs = [job for job in Job.fetch_many(job_ids, connection=redis) if job is not None]
        metas = [job.get_meta() for job in jobs]
        still_open = [job.get_status() in OPEN_STATES for job in jobs]
    return JobProgress(
        done=sum(int(meta.get("done", 0)) for meta in metas),
        failed=sum(int(meta.get("failed", 0)) for meta in metas),
        open_jobs=sum(still_open),
        # An open job may hold the reason of a failed attempt that RQ retries.
        reasons=tuple(
            reason
            for job, is_open in zip(jobs, still_open, strict=True)
            if not is_open and (reason := _described(job).get("reason"))
        ),
    )


def snapshot(redis: Redis) -> dict[str, Any]:
    """The jobs that wait, run and failed, with the progress of running jobs: for `GET /status`.

    Raises:
        QueueError: Redis does not answer.
    """
    with redis_errors():
        queues = {name: Queue(name, connection=redis) for name in QUEUES}
        return {
            "waiting": {name: len(queue) for name, queue in queues.items()},
            "tasks_to_prelabel": _tasks_left(queues[PRELABEL]),
            "running": [
                _described(job)
                for queue in queues.values()
                for job in _jobs(queue.started_job_registry.get_job_ids, queue)
            ],
            "failed": [
                _described(job)
                for queue in queues.values()
                for job in _jobs(queue.failed_job_registry.get_job_ids, queue)
            ],
            "last_training": [
                _described(job) for job in _jobs(queues[TRAIN].finished_job_registry.get_job_ids, queues[TRAIN])
            ],
            "workers": [
                {"name": worker.name, "state": str(worker.get_state()), "queues": worker.queue_names()}
                for worker in workers_of(redis)
            ],
        }


def _tasks_left(queue: Queue) -> dict[str, int]:
    """Project id → number of tasks in open jobs that are neither done nor failed yet."""
    left: dict[str, int] = {}
    for job in open_jobs(queue):
        meta = job.get_meta(refresh=False)
        project, tasks = str(job.args[0]), len(job.args[2]) - meta.get("done", 0) - meta.get("failed", 0)
        left[project] = left.get(project, 0) + tasks
    return left


def _jobs(ids: Callable[[], list[str]], queue: Queue) -> list[Job]:
    return [job for job in Job.fetch_many(ids(), connection=queue.connection) if job is not None]


def _described(job: Job) -> dict[str, Any]:
    result = job.latest_result()
    reason = (result.exc_string or "").strip().splitlines()[-1:] if result else []
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
        **({"reason": reason[0]} if reason else {}),
    }
