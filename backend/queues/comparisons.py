"""Jobs that compare architectures: a job for each student, in turn; see `drape compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis
from rq import Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import NoSuchJobError
from rq.job import Dependency, Job, JobStatus

from backend.errors import QueueError
from backend.queues.job_records import KEEP_FAILURE_S, OPEN_STATES, RETRIES, delete, failure_reason, remove_ended
from backend.queues.queues import KEEP_TRAINING_S, TRAIN, Jobs
from backend.queues.redis_connection import redis_errors
from backend.telemetry.request_ids import request_meta

PREFIX = "compare-"


@dataclass(frozen=True)
class StudentJob:
    """A student's job.

    Attributes:
        is_open: it waits or runs.
        progress: what it last told of its training; empty before it began.
        reason: the last line of why it failed; '' if it did not.
    """

    student: str
    is_open: bool
    is_running: bool
    progress: dict[str, Any]
    reason: str


class Comparisons:
    """The comparisons of one project. Every method raises `QueueError` while Redis does not answer."""

    def __init__(self, redis: Redis, project_id: int) -> None:
        self._redis = redis
        self._project_id = project_id

    @redis_errors()
    def enqueue(self, students: Sequence[str], options: dict[str, Any], *, timeout_s: int) -> None:
        """Queues a job for each student that has none which waits or runs; each begins when the one before has ended.

        One that failed does not hold back those after it.

        Args:
            options: the same for all of them; see `training.jobs.compare_student`.
            timeout_s: after which a job is aborted.

        Raises:
            QueueError: another comparison of the project waits or runs: it shares the folder.
        """
        queue, before = self._queue, None
        asked = (self._project_id, list(students), options)
        for job in self._open_jobs():
            project_id, _, others, other_options = job.args
            if (project_id, others, other_options) != asked:
                raise QueueError(
                    f"Another comparison of project {self._project_id} waits or runs: {', '.join(others)}. Wait until "
                    "it has ended, or end it with --cancel."
                )
        for student in students:
            job_id = self._job_id(student)
            if remove_ended(queue, job_id):
                # Without the first argument's job there is nothing to wait for.
                depends_on = Dependency(jobs=[before], allow_failure=True) if before else None
                queue.enqueue(
                    Jobs.COMPARE,
                    args=(self._project_id, student, list(students), options),
                    job_id=job_id,
                    depends_on=depends_on,
                    job_timeout=timeout_s,
                    result_ttl=KEEP_TRAINING_S,
                    failure_ttl=KEEP_FAILURE_S,
                    retry=Retry(max=RETRIES),
                    meta=request_meta(),
                )
            before = job_id

    @redis_errors()
    def state(self, students: Sequence[str]) -> list[StudentJob]:
        """Returns the students' jobs; none for a student whose job Redis no longer has."""
        return [_described(job, student) for student in students if (job := self._job(student)) is not None]

    @redis_errors()
    def cancel(self) -> list[str]:
        """Stops the project's jobs that wait or run, in this order; returns their students. What is judged stays."""
        jobs = self._open_jobs()
        for job in jobs:
            if job.get_status() == JobStatus.STARTED:
                send_stop_job_command(self._redis, job.id)
            else:
                with self._redis.pipeline() as pipeline:
                    delete(job, pipeline)
                    pipeline.execute()
        return [str(job.args[1]) for job in jobs]

    @property
    def _queue(self) -> Queue:
        return Queue(TRAIN, connection=self._redis)

    def _open_jobs(self) -> list[Job]:
        """Returns the project's jobs that wait or run: first those that wait for others, so that none begins."""
        queue = self._queue
        waiting = queue.deferred_job_registry, queue.scheduled_job_registry
        ids = [*(one for registry in waiting for one in registry.get_job_ids(cleanup=False)), *queue.job_ids]
        ids += queue.started_job_registry.get_job_ids(cleanup=False)
        prefix = self._job_id("")
        found = Job.fetch_many([one for one in ids if one.startswith(prefix)], connection=self._redis)
        return [job for job in found if job is not None and job.get_status() in OPEN_STATES]

    def _job(self, student: str) -> Job | None:
        try:
            return Job.fetch(self._job_id(student), connection=self._redis)
        except NoSuchJobError:
            return None

    def _job_id(self, student: str) -> str:
        return f"{PREFIX}{self._project_id}-{student}"


def is_comparison(job_id: str) -> bool:
    """Returns whether a job of the queue of trainings compares a student."""
    return job_id.startswith(PREFIX)


def _described(job: Job, student: str) -> StudentJob:
    status = job.get_status()
    reason = "" if status in OPEN_STATES or status == JobStatus.FINISHED else failure_reason(job) or "it was stopped"
    return StudentJob(student, status in OPEN_STATES, status == JobStatus.STARTED, job.get_meta(), reason)
