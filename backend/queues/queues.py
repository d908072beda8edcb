"""RQ queues, job names, and the marks that keep hints of new labels and tasks from queueing a job twice.

Jobs are queued by their dotted names: the backend never imports `training`.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry as Attempts
from rq import Callback, Queue, Retry
from rq.command import send_stop_job_command
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.utils import as_text

from backend.queues.fair_turns import take_turns
from backend.queues.job_records import OPEN_STATES, make_room, open_jobs
from backend.queues.redis_connection import ANSWER_S, REDIS_PATIENCE_S, redis_errors
from backend.settings import Settings
from backend.telemetry.request_ids import request_meta

logger = logging.getLogger(__name__)

CHECKS, PRELABEL, TRAIN, CLUSTERS, EMBED = "checks", "prelabel", "train", "clusters", "embed"
# A worker takes from the first queue that holds a job: queues that no annotator waits for come last.
QUEUES = (CHECKS, PRELABEL, TRAIN, CLUSTERS, EMBED)
# The next hint replaces a mark whose job is gone; without another hint the mark expires after this long.
HINT_LIFE_S = 600
# A mark younger than this is valid without a job: the job is queued right after the mark is set.
HINT_GRACE_S = 5
PRELABEL_TIMEOUT_S = 3600
CHECK_TIMEOUT_S = 600
# Part of it, for a Label Studio that restarts: imported tasks wait in the same queue, and the timer checks again.
CHECK_PATIENCE_S = 240
# SAM 3 encodes one image a minute on a CPU.
EMBED_TIMEOUT_S = 6 * 3600
KEEP_RESULT_S = 3600
# A job whose worker died is retried; a job that kills every worker must not be retried for ever.
RETRIES = 3
LOCK_S = 60
KEEP_FAILURE_S = 7 * 24 * 3600


class Jobs:
    """Dotted names of the functions that workers run; only the worker imports their modules."""

    PLAN = "backend.prelabel.jobs.plan"
    SHARE_OUT = "backend.prelabel.jobs.share_out"
    PRELABEL = "backend.prelabel.jobs.prelabel"
    WRITE_CLUSTERS = "backend.prelabel.jobs.write_clusters"
    EMBED = "backend.prelabel.embed.embed"
    CHECK_APPROVALS = "training.jobs.check_approvals"
    TRAIN = "training.jobs.train"
    # Not a job: RQ calls it when a training is stopped.
    FORGET_RUN = "training.runs.forget"


class Keys:
    """Names of Redis keys other than RQ's own."""

    @staticmethod
    def check_pending(project_id: int, *, all_of_it: bool) -> str:
        """Mark that a count of the project's approved labels (of changes, or of all) waits in the queue."""
        return f"drape:check-{'all-' if all_of_it else ''}pending:{project_id}"

    @staticmethod
    def plan_pending(project_id: int) -> str:
        """Mark that a plan of the project's pre-annotation waits in the queue."""
        return f"drape:plan-pending:{project_id}"

    @staticmethod
    def afresh(project_id: int) -> str:
        """Mark that the project's next training does not go on where a cancelled one was."""
        return f"drape:train-afresh:{project_id}"

    @staticmethod
    def prelabel_lock(project_id: int) -> str:
        """Lock that is held while the project's tasks are shared out among jobs."""
        return f"drape:prelabel-lock:{project_id}"


class Queues:
    """Queues jobs for the workers. Every method raises `QueueError` while Redis does not answer."""

    def __init__(self, settings: Settings, *, answer_within_s: float | None = None) -> None:
        """`answer_within_s` is the timeout for Redis; None for processes that wait for Redis, such as workers."""
        self._settings = settings
        # One retry, for a connection that was dropped while it was idle.
        attempts = {} if answer_within_s is None else {"retry": Attempts(NoBackoff(), 1)}
        self.redis = Redis.from_url(
            settings.redis_address,
            socket_connect_timeout=REDIS_PATIENCE_S,
            socket_timeout=answer_within_s or ANSWER_S,
            health_check_interval=30,
            **attempts,
        )

    def enqueue_plan(self, project_id: int) -> bool:
        """Queues a plan, which finds the tasks that wait for pre-annotation; False where a plan waits already.

        The mark is removed when the plan begins (`begin_plan`), so that a hint that arrives during it queues another.
        """
        return self._enqueue_hint(Keys.plan_pending(project_id), Jobs.PLAN, (project_id,))

    def begin_plan(self, project_id: int) -> None:
        """Removes the mark as a plan begins: a hint that arrives from now on queues another plan."""
        with redis_errors():
            self.redis.delete(Keys.plan_pending(project_id))

    def enqueue_imported(self, project_id: int, task_ids: Sequence[int]) -> bool:
        """Queues one job that shares out imported tasks; the same event within the hour queues no second job."""
        digest = hashlib.sha256(str(list(task_ids)).encode()).hexdigest()[:16]
        return self._enqueue(
            CHECKS,
            Jobs.SHARE_OUT,
            (project_id, list(task_ids)),
            job_id=f"imported-{project_id}-{digest}",
            timeout_s=CHECK_TIMEOUT_S,
            repeat=False,
        )

    def enqueue_prelabel(
        self, project_id: int, task_ids: Sequence[int], *, version: str, asked: bool = False
    ) -> list[str]:
        """Queues pre-annotation by `version` in jobs of a few dozen tasks (`prelabel_chunk`).

        Tasks in an open job of the same version are not queued again. Projects take turns, a job each.

        Args:
            version: a model version's name; '' for a project without a model, where SAM 3's words answer.
            asked: a person asked for this version's predictions, whichever version is current when the jobs run.

        Returns:
            Ids of the jobs that hold the tasks: those that were open, and the new jobs.
        """
        size = self._settings.prelabel_chunk
        queue = Queue(PRELABEL, connection=self.redis)
        with redis_errors(), self.redis.lock(Keys.prelabel_lock(project_id), timeout=LOCK_S):
            holders = {
                task_id: job.id
                for job in open_jobs(queue)
                # A job without `asked` does nothing once there is a newer model, so it cannot serve an `asked` call.
                if tuple(job.args[:2]) == (project_id, version) and job.kwargs.get("asked", False) == asked
                for task_id in job.args[2]
            }
            free = [task_id for task_id in dict.fromkeys(task_ids) if task_id not in holders]
            made = [
                Queue.prepare_data(
                    Jobs.PRELABEL,
                    (project_id, version, free[first : first + size]),
                    {"asked": asked},
                    job_id=f"prelabel-{project_id}-{secrets.token_hex(8)}",
                    timeout=PRELABEL_TIMEOUT_S,
                    result_ttl=KEEP_RESULT_S,
                    failure_ttl=KEEP_FAILURE_S,
                    retry=Retry(max=RETRIES),
                    meta=request_meta(),
                )
                for first in range(0, len(free), size)
            ]
            queue.enqueue_many(made)
            take_turns(queue)
        held = {holders[task_id] for task_id in task_ids if task_id in holders}
        return sorted(held) + [str(one.job_id) for one in made]

    def enqueue_clusters(self, project_id: int, version: str, clusters: Mapping[int, int]) -> None:
        """Queues a job that writes cluster numbers, by task id, into `version`'s predictions."""
        self._enqueue(
            CLUSTERS,
            Jobs.WRITE_CLUSTERS,
            (project_id, version, dict(clusters)),
            job_id=f"clusters-{project_id}-{secrets.token_hex(8)}",
            timeout_s=PRELABEL_TIMEOUT_S,
        )
        self._take_turns(CLUSTERS)

    def enqueue_embed(self, project_id: int, task_ids: Sequence[int]) -> list[str]:
        """Queues jobs that encode the tasks' images, a chunk each; returns all ids, also of open jobs."""
        ids = []
        size = self._settings.prelabel_chunk
        for first in range(0, len(task_ids), size):
            chunk = list(task_ids[first : first + size])
            ids.append(f"embed-{project_id}-{hashlib.sha256(str(chunk).encode()).hexdigest()[:16]}")
            self._enqueue(EMBED, Jobs.EMBED, (project_id, chunk), job_id=ids[-1], timeout_s=EMBED_TIMEOUT_S)
        self._take_turns(EMBED)
        return ids

    def enqueue_check(self, project_id: int, *, all_of_it: bool = False, job_id: str = "") -> bool:
        """Queues one count of the project's approved labels; False where a count waits already.

        The mark is removed when the count begins (`begin_check`), so that an event during it queues another.

        Args:
            all_of_it: counts everything again, and not only the changes since the last count.
            job_id: the same id for every retry, as Redis may have run a command without answering; '' for a new id.
        """
        mark = Keys.check_pending(project_id, all_of_it=all_of_it)
        return self._enqueue_hint(mark, Jobs.CHECK_APPROVALS, (project_id,), {"all_of_it": all_of_it}, given=job_id)

    def begin_check(self, project_id: int, *, all_of_it: bool = False) -> None:
        """Removes the mark as a count begins: a hint that arrives from now on queues another count."""
        with redis_errors():
            self.redis.delete(Keys.check_pending(project_id, all_of_it=all_of_it))

    def enqueue_training(self, project_id: int, *, reason: str) -> bool:
        """Queues a training; False where a training of the project waits or runs already."""
        return self._enqueue(
            TRAIN,
            Jobs.TRAIN,
            (project_id, reason),
            job_id=_training_id(project_id),
            timeout_s=self._settings.for_project(project_id).train_timeout_s,
            on_stopped=Jobs.FORGET_RUN,
        )

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
                self.redis.set(Keys.afresh(project_id), 1)
                job.delete()
            return status in OPEN_STATES

    def begins_afresh(self, project_id: int) -> bool:
        """Whether a training was cancelled while it waited: what it had done before is not gone on with. Says so once.

        Raises:
            QueueError: Redis does not answer.
        """
        with redis_errors():
            return bool(self.redis.delete(Keys.afresh(project_id)))

    def _take_turns(self, queue: str) -> None:
        with redis_errors():
            take_turns(Queue(queue, connection=self.redis))

    def _enqueue_hint(
        self,
        mark: str,
        function: str,
        args: tuple[Any, ...],
        named: Mapping[str, Any] | None = None,
        *,
        given: str = "",
    ) -> bool:
        job_id = given or secrets.token_hex(16)
        with redis_errors():
            # One pipeline: on a busy machine each answer of Redis waits for Python's global interpreter lock.
            with self.redis.pipeline(transaction=False) as pipeline:
                pipeline.set(mark, job_id, nx=True, ex=HINT_LIFE_S)
                pipeline.ttl(mark)
                pipeline.get(mark)
                made, left_s, holder = pipeline.execute()
            if made and given and Job.exists(given, connection=self.redis):
                # An earlier attempt, whose answer got lost, queued this job, and it has begun: it misses later changes.
                job_id = secrets.token_hex(16)
                self.redis.set(mark, job_id, ex=HINT_LIFE_S)
            # A mark with this job's id was set by an earlier attempt whose answer got lost.
            if not made and (holder is None or as_text(holder) != job_id):
                if left_s > HINT_LIFE_S - HINT_GRACE_S or self._is_open(holder):
                    return False
                # The process that set the mark died or lost Redis before it queued the job: the mark would block hints.
                self.redis.set(mark, job_id, ex=HINT_LIFE_S)
        return self._enqueue(CHECKS, function, args, job_id=job_id, timeout_s=CHECK_TIMEOUT_S, named=named)

    def _is_open(self, job_id: bytes | str | None) -> bool:
        try:
            if job_id is None:
                return False
            return Job.fetch(as_text(job_id), connection=self.redis).get_status(refresh=False) in OPEN_STATES
        except NoSuchJobError:
            return False

    def _enqueue(
        self,
        queue: str,
        function: str,
        args: tuple[Any, ...],
        *,
        job_id: str,
        timeout_s: int,
        repeat: bool = True,
        on_stopped: str | None = None,
        named: Mapping[str, Any] | None = None,
    ) -> bool:
        """Queues a job; False where a job of that id is open, or finished within the hour and `repeat` is False."""
        target = Queue(queue, connection=self.redis)
        with redis_errors():
            if not make_room(target, job_id, repeat=repeat):
                logger.info("Job %s is queued already", job_id)
                return False
            try:
                target.enqueue(
                    function,
                    args=args,
                    kwargs=dict(named or {}),
                    job_id=job_id,
                    unique=True,
                    job_timeout=timeout_s,
                    result_ttl=KEEP_RESULT_S,
                    failure_ttl=KEEP_FAILURE_S,
                    retry=Retry(max=RETRIES),
                    on_stopped=Callback(on_stopped) if on_stopped else None,
                    meta=request_meta(),
                )
            except DuplicateJobError:
                return False
        return True


def _training_id(project_id: int) -> str:
    # One id per project: at most one training of a project waits or runs.
    return f"train-{project_id}"
