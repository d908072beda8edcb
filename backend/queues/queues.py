"""RQ queues, job names, and the marks that keep hints of new labels and tasks from queueing a job twice.

Jobs are queued by their dotted names: the backend never imports `training`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry as Attempts
from rq import Callback, Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus

from backend.queues.backlog import Backlog, Work
from backend.queues.job_records import KEEP_FAILURE_S, KEEP_RESULT_S, OPEN_STATES, RETRIES, delete, remove_ended
from backend.queues.redis_connection import ANSWER_S, REDIS_TIMEOUT_S, redis_errors
from backend.settings import Settings
from backend.telemetry.request_ids import request_meta

CHECKS, PRELABEL, TRAIN = "checks", "prelabel", "train"
QUEUES = (CHECKS, PRELABEL, TRAIN)
# A mark expires after this long, should its job get lost.
HINT_LIFE_S = 600
PRELABEL_TIMEOUT_S = 3600
CHECK_TIMEOUT_S = 600
# Part of it, for a Label Studio that restarts: imported tasks wait in the same queue, and the timer checks again.
CHECK_RETRY_S = 240
# SAM 3 encodes one image a minute on a CPU: imported images, which annotators wait for, have a turn after each.
EMBED_CHUNK, EMBED_TIMEOUT_S = 1, 1200
KEEP_TRAINING_S = 3600


class Jobs:
    """Dotted names of the functions that workers run; only the worker imports their modules."""

    LOOK_AFTER = "backend.timer.look_after"
    PLAN = "backend.prelabel.jobs.plan"
    SHARE_OUT = "backend.prelabel.jobs.share_out"
    PRELABEL = "backend.prelabel.jobs.prelabel"
    WRITE_CLUSTERS = "backend.prelabel.jobs.write_clusters"
    EMBED = "backend.prelabel.embed.embed"
    CHECK_APPROVALS = "training.jobs.check_approvals"
    TRAIN = "training.jobs.train"
    COMPARE = "training.jobs.compare_student"
    # Not a job: RQ calls it when a training is stopped.
    FORGET_RUN = "training.runs.forget"


class Keys:
    """Names of Redis keys other than RQ's own."""

    @staticmethod
    def check_pending(project_id: int) -> str:
        """Mark that a count of the project's approved labels waits in the queue."""
        return f"drape:check-pending:{project_id}"

    @staticmethod
    def plan_pending(project_id: int) -> str:
        """Mark that a plan of the project's pre-annotation waits in the queue."""
        return f"drape:plan-pending:{project_id}"

    # Mark that a look after all projects waits in the queue.
    LOOK_PENDING = "drape:look-pending"

    @staticmethod
    def afresh(project_id: int) -> str:
        """Mark that the project's next training does not go on where a cancelled one was."""
        return f"drape:train-afresh:{project_id}"


class Queues:
    """Queues jobs for the workers. Every method raises `QueueError` while Redis does not answer."""

    def __init__(self, settings: Settings, *, answer_within_s: float | None = None) -> None:
        """`answer_within_s` is the timeout for Redis; None for processes that wait for Redis, such as workers."""
        self._settings = settings
        # One retry, for a connection that was dropped while it was idle.
        attempts = {} if answer_within_s is None else {"retry": Attempts(NoBackoff(), 1)}
        self.redis = Redis.from_url(
            settings.redis_address,
            socket_connect_timeout=REDIS_TIMEOUT_S,
            socket_timeout=answer_within_s or ANSWER_S,
            health_check_interval=30,
            **attempts,
        )

    def prelabelling(self, project_id: int, *, version: str, asked: bool = False) -> Backlog:
        """The project's tasks that wait for pre-annotation by `version`.

        Args:
            version: a model version's name; '' for a project without a model, where SAM 3's words answer.
            asked: a person asked for this version's predictions, whichever version is current when the jobs run.
        """
        args, chunk = (project_id, version), self._settings.prelabel_chunk
        work = Work(PRELABEL, Jobs.PRELABEL, args, chunk, PRELABEL_TIMEOUT_S, kwargs={"asked": asked})
        return Backlog(self.redis, work)

    def encoding(self, project_id: int) -> Backlog:
        """The project's tasks whose images are to be encoded."""
        return Backlog(self.redis, Work(PRELABEL, Jobs.EMBED, (project_id,), EMBED_CHUNK, EMBED_TIMEOUT_S))

    def enqueue_imported(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Queues a job that adds imported tasks to those that wait for pre-annotation."""
        self._enqueue(CHECKS, Jobs.SHARE_OUT, (project_id, list(task_ids)), timeout_s=CHECK_TIMEOUT_S)

    def enqueue_clusters(self, project_id: int, version: str, clusters: Mapping[int, int]) -> None:
        """Queues a job that writes cluster numbers, by task id, into `version`'s predictions."""
        args = (project_id, version, dict(clusters))
        self._enqueue(CHECKS, Jobs.WRITE_CLUSTERS, args, timeout_s=CHECK_TIMEOUT_S)

    def enqueue_plan(self, project_id: int) -> bool:
        """Queues a plan, which finds the tasks that wait for pre-annotation; False where a plan waits already.

        The mark is removed when the plan begins (`begin_plan`), so that a hint that arrives during it queues another.
        """
        return self._enqueue_hint(Keys.plan_pending(project_id), Jobs.PLAN, (project_id,))

    def begin_plan(self, project_id: int) -> None:
        """Removes the mark as a plan begins: a hint that arrives from now on queues another plan."""
        with redis_errors():
            self.redis.delete(Keys.plan_pending(project_id))

    def enqueue_check(self, project_id: int) -> bool:
        """Queues one count of the project's approved labels; False where a count waits already.

        The mark is removed when the count begins (`begin_check`), so that an event during it queues another.
        """
        return self._enqueue_hint(Keys.check_pending(project_id), Jobs.CHECK_APPROVALS, (project_id,))

    def begin_check(self, project_id: int) -> None:
        """Removes the mark as a count begins: a hint that arrives from now on queues another count."""
        with redis_errors():
            self.redis.delete(Keys.check_pending(project_id))

    def enqueue_look(self) -> bool:
        """Queues a look after all projects; False where one waits already, other than those of the timer."""
        return self._enqueue_hint(Keys.LOOK_PENDING, Jobs.LOOK_AFTER, ())

    def begin_look(self) -> None:
        """Removes the mark as a look begins: a hint that arrives from now on queues another look."""
        with redis_errors():
            self.redis.delete(Keys.LOOK_PENDING)

    def enqueue_training(self, project_id: int, *, reason: str) -> bool:
        """Queues a training; False where a training of the project waits or runs already."""
        queue, job_id = Queue(TRAIN, connection=self.redis), _training_id(project_id)
        with redis_errors():
            if not remove_ended(queue, job_id):
                return False
            try:
                queue.enqueue(
                    Jobs.TRAIN,
                    args=(project_id, reason),
                    job_id=job_id,
                    unique=True,
                    job_timeout=self._settings.for_project(project_id).train_timeout_s,
                    result_ttl=KEEP_TRAINING_S,
                    failure_ttl=KEEP_FAILURE_S,
                    retry=Retry(max=RETRIES),
                    on_stopped=Callback(Jobs.FORGET_RUN),
                    meta=request_meta(),
                )
            except DuplicateJobError:
                return False
        return True

    def has_training(self, project_id: int) -> bool:
        """Whether a training of the project waits or runs."""
        with redis_errors():
            try:
                return Job.fetch(_training_id(project_id), connection=self.redis).get_status() in OPEN_STATES
            except NoSuchJobError:
                return False

    def cancel_training(self, project_id: int) -> bool:
        """Stops the project's training, or removes it from the queue; False where none waits or runs."""
        job_id = _training_id(project_id)
        with redis_errors():
            try:
                job = Job.fetch(job_id, connection=self.redis)
            except NoSuchJobError:
                return False
            status = job.get_status()
            if status == JobStatus.STARTED:
                send_stop_job_command(self.redis, job_id)
            elif status in OPEN_STATES:
                # It may have begun before: what it has done lies on the machine of its worker.
                with self.redis.pipeline() as pipeline:
                    pipeline.set(Keys.afresh(project_id), 1)
                    delete(job, pipeline)
                    pipeline.execute()
            return status in OPEN_STATES

    def begins_afresh(self, project_id: int) -> bool:
        """Whether a training was cancelled while it waited: what it had done before is not gone on with. Says so once.

        Raises:
            QueueError: Redis does not answer.
        """
        with redis_errors():
            return bool(self.redis.delete(Keys.afresh(project_id)))

    def _enqueue_hint(self, mark: str, function: str, args: tuple[Any, ...]) -> bool:
        with redis_errors():
            if self.redis.exists(mark):
                return False
            # In one transaction: a mark without its job would block later hints. Two jobs do no harm.
            with self.redis.pipeline() as pipeline:
                self._enqueue(CHECKS, function, args, timeout_s=CHECK_TIMEOUT_S, pipeline=pipeline)
                pipeline.set(mark, 1, ex=HINT_LIFE_S)
                pipeline.execute()
        return True

    @redis_errors()
    def _enqueue(
        self,
        queue: str,
        function: str,
        args: tuple[Any, ...],
        *,
        timeout_s: int,
        pipeline: Pipeline | None = None,
    ) -> None:
        Queue(queue, connection=self.redis).enqueue(
            function,
            args=args,
            job_id="-".join([function.rpartition(".")[2], *map(str, args[:1]), secrets.token_hex(8)]),
            job_timeout=timeout_s,
            result_ttl=KEEP_RESULT_S,
            failure_ttl=KEEP_FAILURE_S,
            retry=Retry(max=RETRIES),
            meta=request_meta(),
            pipeline=pipeline,
        )


def _training_id(project_id: int) -> str:
    # One id per project: at most one training of a project waits or runs.
    return f"train-{project_id}"
