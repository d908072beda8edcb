"""RQ's records of jobs: which are open, and making room for one of the same id."""

from __future__ import annotations

from datetime import timedelta

from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.utils import now

from backend.queues.job_claims import claimed_ids

LOST_AFTER = timedelta(seconds=30)
OPEN_STATES = frozenset({JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED})


def open_jobs(queue: Queue) -> list[Job]:
    """The queue's jobs that wait or run; their records alone, RQ's cleaning of them is not set off."""
    # In the order in which a job goes from one to the next, so that none is missed on its way.
    ids = [*queue.get_job_ids(), *claimed_ids(queue), *queue.started_job_registry.get_job_ids(cleanup=False)]
    return [job for job in Job.fetch_many(list(dict.fromkeys(ids)), connection=queue.connection) if job is not None]


def make_room(queue: Queue, job_id: str, *, repeat: bool) -> bool:
    """False where a job of that id waits or runs; one that has ended is removed, as RQ counts it as there."""
    # Not `queue.fetch_job`: what it does not find it takes off the queue, where another process may just have put it.
    try:
        job = Job.fetch(job_id, connection=queue.connection)
    except NoSuchJobError:
        return True
    status = job.get_status()
    if status in OPEN_STATES and not _is_lost(job, queue):
        return False
    if status == JobStatus.FINISHED and not repeat:
        return False
    _forget(job)
    return True


def _forget(job: Job) -> None:
    try:
        job.delete()
    except ValueError:
        # RQ remembers a run for a minute longer than it keeps the record of it, and then stumbles over that.
        job.connection.delete(f"rq:executions:{job.id}")
        job.delete()


def _is_lost(job: Job, queue: Queue) -> bool:
    """Whether the job counts as waiting, but is in no queue: it would never run, nor let its like be queued."""
    if job.get_status() != JobStatus.QUEUED or job.enqueued_at is None:
        return False
    # A worker that takes it off the queue has not marked it as started yet.
    if now() - job.enqueued_at < LOST_AFTER:
        return False
    # In the order in which it goes from one to the next.
    return (
        queue.get_job_position(job.id) is None
        and job.id not in claimed_ids(queue)
        and job.id not in queue.started_job_registry.get_job_ids(cleanup=False)
    )
