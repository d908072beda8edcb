"""Tasks that wait for a job: the queue holds one job for each backlog, so that projects take turns.

A job first puts the next one in the queue, behind those of other projects, and then works on its own few tasks. So a
project with a few images does not wait for another's thousands, and as many workers as there are share a backlog.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import cast

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Retry
from rq.job import Job, JobStatus
from rq.utils import as_text

from backend.queues.job_records import KEEP_FAILURE_S, KEEP_RESULT_S, RETRIES, failure_reason, open_ids, tasks_left
from backend.queues.redis_connection import redis_errors
from backend.telemetry.request_ids import request_meta

# Names of all backlogs that hold tasks.
NAMES_KEY = "drape:backlogs"
# Tasks in one command: Redis takes none of more than a million words.
ADDED_AT_ONCE = 100_000
# How long the counts of done and failed tasks are kept, for the progress bar of the command that asked for them.
COUNTS_LIFE_S = 24 * 3600


@dataclass(frozen=True)
class Work:
    """What is done with the tasks of a backlog.

    Attributes:
        function: dotted name of the job's function, called with `args`, a list of task ids, and `kwargs`.
        args: first the project's id.
        chunk: how many tasks a job takes.
        timeout_s: after which a job is ended.
    """

    queue: str
    function: str
    args: tuple[object, ...]
    chunk: int
    timeout_s: int
    kwargs: Mapping[str, object] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Such as `prelabel-7:v3:False`: the function's name, the project's id, and the other arguments."""
        kind, (project_id, *others) = self.function.rpartition(".")[2], self.args
        return ":".join([f"{kind}-{project_id}", *map(str, others), *map(str, self.kwargs.values())])


@dataclass(frozen=True)
class Progress:
    """Tasks that are `left`; tasks that are `done` and that `failed` in jobs that ended; why whole jobs failed.

    `ended` says that no job is open: only then are all tasks counted, as a job counts its own at its end.
    """

    ended: bool
    left: int
    done: int
    failed: int
    reasons: tuple[str, ...]


class Backlog:
    """The tasks that wait for one kind of work. Every method raises `QueueError` while Redis does not answer."""

    def __init__(self, redis: Redis, work: Work) -> None:
        self._redis = redis
        self._work = work
        self._queue = Queue(work.queue, connection=redis)
        self._key = f"drape:backlog:{work.name}"
        # The id of the job that was queued last.
        self._last_key = f"drape:backlog-last:{work.name}"
        self._counts_key = f"drape:backlog-counts:{work.name}"

    @redis_errors()
    def add(self, task_ids: Collection[int]) -> None:
        """Adds tasks, by ascending id, but for those that wait already or are in an open job."""

        def add(pipeline: Pipeline) -> None:
            held = {task_id for job in self._open_jobs() for task_id in job.args[-1]}
            new = {str(task_id): task_id for task_id in task_ids if task_id not in held}
            pipeline.multi()
            for first in range(0, len(new), ADDED_AT_ONCE):
                pipeline.zadd(self._key, dict(islice(new.items(), first, first + ADDED_AT_ONCE)))
            if new:
                pipeline.sadd(NAMES_KEY, self._work.name)

        # A job that takes tasks changes the key, and `add` begins again: none is overlooked on its way.
        self._redis.transaction(add, self._key)
        self.queue_next()

    @redis_errors()
    def queue_next(self) -> None:
        """Queues a job for the next tasks, unless one waits already. Each job calls this as it begins."""

        def move(pipeline: Pipeline) -> None:
            last = as_text(pipeline.get(self._last_key) or b"")
            status = as_text(pipeline.hget(Job.key_for(last), "status") or b"")
            members = cast(list[bytes], pipeline.zrange(self._key, 0, self._work.chunk - 1))
            task_ids = [int(member) for member in members]
            pipeline.multi()
            if not task_ids:
                pipeline.srem(NAMES_KEY, self._work.name)
            elif status != JobStatus.QUEUED.value:
                pipeline.zrem(self._key, *task_ids)
                pipeline.set(self._last_key, self._enqueue(task_ids, pipeline).id)

        self._redis.transaction(move, self._key, self._last_key)

    @redis_errors()
    def drop(self) -> None:
        """Removes the tasks that wait: nobody needs the work any more."""
        with self._redis.pipeline() as pipeline:
            pipeline.delete(self._key, self._last_key)
            pipeline.srem(NAMES_KEY, self._work.name)
            pipeline.execute()

    @redis_errors()
    def begin_counts(self) -> None:
        """Counts done and failed tasks from 0 again."""
        self._redis.delete(self._counts_key)

    @redis_errors()
    def count(self, *, done: int, failed: int) -> None:
        """Adds to the counts of done and failed tasks, as a job ends."""
        with self._redis.pipeline() as pipeline:
            pipeline.hincrby(self._counts_key, "done", done)
            pipeline.hincrby(self._counts_key, "failed", failed)
            pipeline.expire(self._counts_key, COUNTS_LIFE_S)
            pipeline.execute()

    @redis_errors()
    def progress(self, *, since: datetime) -> Progress:
        """How far the work is; reasons are those of jobs that were queued and failed after `since`.

        Queues a job where tasks wait and none does: after one that failed before it queued the next, none would come.
        """
        open_jobs = self._open_jobs()
        if not open_jobs:
            self.queue_next()
            open_jobs = self._open_jobs()
        failures = self._queue.failed_job_registry.get_job_ids(cleanup=False)
        failed = [job for job in self._of_this_work(failures) if job.enqueued_at and job.enqueued_at >= since]
        done, failed_tasks = (int(count or 0) for count in self._redis.hmget(self._counts_key, "done", "failed"))
        left = int(self._redis.zcard(self._key)) + sum(map(tasks_left, open_jobs))
        ended = not left and not open_jobs
        return Progress(ended, left, done, failed_tasks, tuple(filter(None, map(failure_reason, failed))))

    def _enqueue(self, task_ids: list[int], pipeline: Pipeline) -> Job:
        return self._queue.enqueue(
            self._work.function,
            args=(*self._work.args, task_ids),
            kwargs=dict(self._work.kwargs),
            job_id=f"{self._work.name.partition(':')[0]}-{secrets.token_hex(8)}",
            job_timeout=self._work.timeout_s,
            result_ttl=KEEP_RESULT_S,
            failure_ttl=KEEP_FAILURE_S,
            retry=Retry(max=RETRIES),
            meta=request_meta(),
            pipeline=pipeline,
        )

    def _open_jobs(self) -> list[Job]:
        return self._of_this_work(open_ids(self._queue))

    def _of_this_work(self, job_ids: Sequence[str]) -> list[Job]:
        work = (self._work.function, self._work.args, self._work.kwargs)
        jobs = Job.fetch_many(job_ids, connection=self._redis)
        return [job for job in jobs if job and (job.func_name, tuple(job.args[:-1]), job.kwargs) == work]


def waiting_tasks(redis: Redis, kind: str) -> dict[str, int]:
    """Project id → number of tasks that wait in its backlogs for a job of that kind, such as `prelabel`.

    Raises:
        RedisError: Redis does not answer.
    """
    waiting: dict[str, int] = {}
    for name in sorted(map(as_text, redis.smembers(NAMES_KEY))):
        job, project_id = name.partition(":")[0].split("-")
        if job == kind:
            waiting[project_id] = waiting.get(project_id, 0) + int(redis.zcard(f"drape:backlog:{name}"))
    return waiting
