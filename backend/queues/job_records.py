"""Reads RQ's job records: which jobs are open, and whether a new job may take the id of an ended job."""

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
    """The queue's jobs that wait or run. Only reads: it does not trigger RQ's clean-up of abandoned jobs."""
    # In the order in which a job moves from list to list, so that no moving job is missed.
    ids = [*queue.get_job_ids(), *claimed_ids(queue), *queue.started_job_registry.get_job_ids(cleanup=False)]
    return [job for job in Job.fetch_many(list(dict.fromkeys(ids)), connection=queue.connection) if job is not None]


def make_room(queue: Queue, job_id: str, *, repeat: bool) -> bool:
    """Removes an ended or lost job, whose id RQ refuses; False where a job is open, or finished without `repeat`."""
    # Not `queue.fetch_job`: it removes ids without a record from the queue, where another process may just have put it.
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
        # RQ lists an execution for a minute longer than it keeps its record, and fails to delete one without a record.
        job.connection.delete(f"rq:executions:{job.id}")
        job.delete()


def _is_lost(job: Job, queue: Queue) -> bool:
    """Whether the job counts as queued but is in no queue: it would never run, and its id would stay blocked."""
    if job.get_status() != JobStatus.QUEUED or job.enqueued_at is None:
        return False
    # A worker may just have taken it off the queue, and not marked it as started yet.
    if now() - job.enqueued_at < LOST_AFTER:
        return False
    # In the order in which a job moves from list to list.
    return (
        queue.get_job_position(job.id) is None
        and job.id not in claimed_ids(queue)
        and job.id not in queue.started_job_registry.get_job_ids(cleanup=False)
    )
