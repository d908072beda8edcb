"""Requeues the jobs of dead workers at the head of their queues."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence

import psutil
from redis import Redis
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.results import Result
from rq.worker import BaseWorker

from backend.queues.job_claims import claims, put_back
from backend.queues.redis_connection import workers_of

logger = logging.getLogger(__name__)

# The process's start time and the worker's birth date come from clocks that round differently.
CLOCK_SLACK_S = 5.0
# Keys in a job's record: how many of its workers died, and the task that it works on.
DEATHS = "deaths"
IN_HAND = "in_hand"
MAX_DEATHS = 3


def put_back_lost_jobs(connection: Redis, queues: Sequence[str]) -> list[str]:
    """Requeues the jobs of workers that were killed, at the head of their queues.

    RQ itself notices such jobs only after minutes, and then marks them as failed. Call this before a worker starts.

    Returns:
        Ids of the requeued jobs.
    """
    for worker in workers_of(connection):
        if is_dead(worker):
            logger.warning("Worker %s is dead; its jobs are put back", worker.name)
            worker.register_death()
    lost = put_back_claims(connection, queues)
    alive = _alive(connection)
    for name in queues:
        queue = Queue(name, connection=connection)
        # Without RQ's clean-up, which would mark these jobs as failed.
        for job_id, execution_id in queue.started_job_registry.get_job_and_execution_ids(cleanup=False):
            execution = Execution(execution_id, job_id, connection)
            if _worker_of(execution) not in alive and put_back_execution(queue, execution, died=True):
                lost.append(job_id)
    return lost


def put_back_claims(connection: Redis, queues: Sequence[str]) -> list[str]:
    """Requeues the jobs that a worker took off a queue but did not start before it died.

    Returns:
        Ids of the requeued jobs.
    """
    # Read the claims before the list of living workers: a worker that starts in between is then not taken for dead.
    claimed = [(queue, noted) for name in queues if (noted := claims(queue := Queue(name, connection=connection)))]
    if not claimed:
        return []
    alive = _alive(connection)
    lost = [
        job_id
        for queue, noted in claimed
        for worker, job_id in noted.items()
        if worker not in alive and put_back(queue, job_id, worker=worker)
    ]
    if lost:
        logger.warning("Jobs that nobody has begun are put back: %s", ", ".join(lost))
    return lost


def _alive(connection: Redis) -> set[str]:
    return {worker.name for worker in workers_of(connection)}


def is_dead(worker: BaseWorker) -> bool:
    """Whether the worker's process on this machine has ended; False for other machines, where only heartbeats tell."""
    if worker.hostname != socket.gethostname() or worker.pid is None or worker.birth_date is None:
        return False
    try:
        process = psutil.Process(worker.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        started_at = process.create_time()
    except psutil.NoSuchProcess:
        return True
    # The process id may belong to another process by now.
    return started_at > worker.birth_date.timestamp() + CLOCK_SLACK_S


def _worker_of(execution: Execution) -> str:
    try:
        execution.refresh()
    except ValueError:
        # The record of the execution expires when heartbeats stop.
        return ""
    return execution.worker_name


def put_back_execution(queue: Queue, execution: Execution, *, died: bool = False) -> bool:
    """Requeues a running job at the head of its queue; False where another worker has done so.

    Args:
        died: the job's worker died. A job whose workers die again and again is what kills them: after `MAX_DEATHS` it
            counts as failed, as no other job would ever run.
    """
    # The worker that removes the entry requeues the job: two workers may start at once.
    if not queue.connection.zrem(queue.started_job_registry.key, execution.composite_key):
        return False
    try:
        job = Job.fetch(execution.job_id, connection=queue.connection)
    except NoSuchJobError:
        return False
    deaths = deaths_of(job) + died
    with queue.connection.pipeline() as pipeline:
        execution.delete(job=job, pipeline=pipeline)
        pipeline.execute()
    if deaths > MAX_DEATHS:
        _fail(job, f"Its worker died {deaths} times while it ran, most likely for lack of memory.")
        return False
    job.meta[DEATHS] = deaths
    if not died:
        # Its worker was stopped: what it worked on is not to blame.
        job.meta.pop(IN_HAND, None)
    queue.enqueue_job(job, at_front=True)
    return True


def deaths_of(job: Job) -> int:
    """How many workers have died while they ran the job."""
    return int(job.get_meta(refresh=False).get(DEATHS, 0))


def _fail(job: Job, reason: str) -> None:
    logger.error("Job %s is given up: %s", job.id, reason)
    with job.connection.pipeline() as pipeline:
        job.set_status(JobStatus.FAILED, pipeline=pipeline)
        job.failed_job_registry.add(job, ttl=job.failure_ttl, exc_string=reason, pipeline=pipeline)
        Result.create_failure(job, job.failure_ttl, exc_string=reason, pipeline=pipeline)
        pipeline.execute()
