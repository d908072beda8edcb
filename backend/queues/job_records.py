"""RQ's job records: which jobs are open, how far they are, and why they failed."""

from __future__ import annotations

import re

from redis.client import Pipeline
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.results import Result

# How often a job is retried whose worker died: a job that kills every worker must not be retried for ever.
RETRIES = 3
# Not 0: RQ would then delete the job, and fails to where an earlier run's record has expired.
KEEP_RESULT_S = 60
KEEP_FAILURE_S = 7 * 24 * 3600
# What Python writes before the message of one.
OWN_ERROR = re.compile(r"^backend\.errors\.\w+: ")
OPEN_STATES = frozenset({JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED})


def open_ids(queue: Queue) -> list[str]:
    """Ids of the queue's jobs that wait or run, those that run last.

    Only reads: it does not trigger RQ's clean-up of lost jobs.
    """
    # In the order in which a job moves from list to list, so that no moving job is missed.
    ids = [
        *queue.get_job_ids(),
        *queue.intermediate_queue.get_job_ids(),
        *queue.started_job_registry.get_job_ids(cleanup=False),
    ]
    return list(dict.fromkeys(ids))


def open_jobs(queue: Queue) -> list[Job]:
    """The queue's jobs that wait or run."""
    return [job for job in Job.fetch_many(open_ids(queue), connection=queue.connection) if job is not None]


def tasks_left(job: Job) -> int:
    """Number of the job's tasks, its last argument, that are neither done nor failed."""
    meta = job.get_meta(refresh=False)
    return len(job.args[-1]) - int(meta.get("done", 0)) - int(meta.get("failed", 0))


def failure_reason(job: Job) -> str:
    """The last line of what the job's latest run raised, of Drape's own errors the message alone; '' without any."""
    result = job.latest_result()
    last_line = ((result.exc_string or "").strip().splitlines() or [""])[-1] if result else ""
    return OWN_ERROR.sub("", last_line)


def remove_ended(queue: Queue, job_id: str) -> bool:
    """Removes an ended job, whose id RQ refuses, and its results; False where the job is open."""
    key = Job.key_for(job_id)

    def remove(pipeline: Pipeline) -> None:
        try:
            job = Job.fetch(job_id, connection=queue.connection)
        except NoSuchJobError:
            pipeline.multi()
            # RQ refuses the id, too, of a record of which only a part is there: of a job that Redis lost, and that then
            # saved its progress.
            pipeline.delete(key, Result.get_key(job_id))
            return
        if job.get_status(refresh=False) not in OPEN_STATES:
            pipeline.multi()
            delete(job, pipeline)

    # Where another queues a new job of this id meanwhile, the key changes, and `remove` begins again. The answers to
    # its commands are none where the job is open.
    return bool(queue.connection.transaction(remove, key))


def delete(job: Job, pipeline: Pipeline) -> None:
    """Deletes a job, also one whose worker died, and its results, which `job_function` would take for a later job's."""
    # RQ lists an execution for longer than it keeps its record, and fails to delete one without a whole record.
    job.connection.delete(job.execution_registry.key)
    job.delete(pipeline=pipeline)
    pipeline.delete(Result.get_key(job.id))
