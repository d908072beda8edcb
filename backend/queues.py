"""RQ queues, job names, progress, and the hints of new labels. Every Redis key of ours is spelled in `Keys`.

Jobs are enqueued by their dotted names: the backend never imports `training`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.utils import now

from backend.errors import QueueError
from backend.settings import Settings

logger = logging.getLogger(__name__)

PRELABEL, CHECKS, TRAIN, EMBED = "prelabel", "checks", "train", "embed"
# A worker takes from the first that holds a job: encoding ahead comes last.
QUEUES = (CHECKS, PRELABEL, TRAIN, EMBED)
REDIS_PATIENCE_S = 2.0
# A hint that a lost job left behind is forgotten after this long; until then it would swallow new hints.
HINT_LIFE_S = 600
PRELABEL_TIMEOUT_S = 3600
CHECK_TIMEOUT_S = 600
LOST_AFTER = timedelta(seconds=30)
# On a CPU SAM 3 encodes an image a minute.
EMBED_TIMEOUT_S = 6 * 3600
KEEP_RESULT_S = 3600
OPEN_STATES = frozenset({JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED})
KEEP_FAILURE_S = 7 * 24 * 3600


class Keys:
    """Names in Redis besides RQ's own."""

    @staticmethod
    def check_pending(project_id: int) -> str:
        """Set while a check of the project's approvals waits in the queue."""
        return f"drape:check-pending:{project_id}"

    # Hash, project id → `new/needed` as last counted; a hint for `/status`, which Label Studio can always give anew.
    COUNTS = "drape:counts"


@dataclass(frozen=True)
class JobProgress:
    """Tasks that jobs have `done` and that `failed`; jobs that wait or run; why jobs failed as a whole."""

    done: int
    failed: int
    open_jobs: int
    reasons: tuple[str, ...]


class Queues:
    """What is to be done, for any worker. Every method raises `QueueError` while Redis is away."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.redis = Redis.from_url(
            settings.redis_url or "redis://127.0.0.1:6379",
            socket_connect_timeout=REDIS_PATIENCE_S,
            socket_timeout=None,
            health_check_interval=30,
        )

    def enqueue_prelabel(self, project_id: int, task_ids: Sequence[int], *, version: str = "") -> int:
        """Queues pre-annotation in chunks; the same tasks for the same version make one job. Returns the jobs made."""
        made = 0
        size = self._settings.prelabel_chunk
        for first in range(0, len(task_ids), size):
            chunk = list(task_ids[first : first + size])
            digest = hashlib.sha256(f"{version}/{chunk}".encode()).hexdigest()[:16]
            made += self._enqueue(
                PRELABEL, "backend.prelabel.prelabel", (project_id, chunk),
                job_id=f"prelabel-{project_id}-{digest}", timeout_s=PRELABEL_TIMEOUT_S,
            )  # fmt: skip
        return made

    def enqueue_embed(self, project_id: int, task_ids: Sequence[int]) -> list[str]:
        """Queues the encoding of the tasks' images in chunks; returns the jobs' ids, those that wait already too."""
        ids = []
        size = self._settings.prelabel_chunk
        for first in range(0, len(task_ids), size):
            chunk = list(task_ids[first : first + size])
            ids.append(f"embed-{project_id}-{hashlib.sha256(str(chunk).encode()).hexdigest()[:16]}")
            self._enqueue(EMBED, "backend.embed.embed", (project_id, chunk), job_id=ids[-1], timeout_s=EMBED_TIMEOUT_S)
        return ids

    def progress(self, job_ids: Sequence[str]) -> JobProgress:
        """How far the jobs are, as they count themselves; a job whose record is gone counts as ended."""
        with _redis_errors():
            jobs = [job for job in Job.fetch_many(job_ids, connection=self.redis) if job is not None]
            metas = [job.get_meta() for job in jobs]
            open_jobs = sum(job.get_status() in OPEN_STATES for job in jobs)
        return JobProgress(
            done=sum(int(meta.get("done", 0)) for meta in metas),
            failed=sum(int(meta.get("failed", 0)) for meta in metas),
            open_jobs=open_jobs,
            reasons=tuple(reason for job in jobs if (reason := _described(job).get("reason"))),
        )

    def enqueue_check(self, project_id: int) -> bool:
        """Queues one count of the project's approved labels; False where one waits already.

        The mark is taken away as the count begins (`begin_check`), so that an event during it queues another.
        """
        with _redis_errors():
            if not self.redis.set(Keys.check_pending(project_id), 1, nx=True, ex=HINT_LIFE_S):
                return False
        return self._enqueue(
            CHECKS, "training.jobs.check_approvals", (project_id,), job_id=None, timeout_s=CHECK_TIMEOUT_S
        )

    def begin_check(self, project_id: int) -> None:
        """Says that a count begins: what arrives from now on is not in it."""
        with _redis_errors():
            self.redis.delete(Keys.check_pending(project_id))

    def remember_count(self, project_id: int, *, new: int, needed: int) -> None:
        """Keeps the outcome of a count for `GET /status`."""
        with _redis_errors():
            self.redis.hset(Keys.COUNTS, str(project_id), f"{new}/{needed}")

    def counts(self) -> dict[str, dict[str, int]]:
        """Project id → `new` approved annotations and how many are `needed` for a training, as last counted."""
        with _redis_errors():
            rows = self.redis.hgetall(Keys.COUNTS)
        split = {_text(project): _text(counted).split("/") for project, counted in rows.items()}
        return {project: {"new": int(new), "needed": int(needed)} for project, (new, needed) in split.items()}

    def enqueue_training(self, project_id: int, *, reason: str) -> bool:
        """Queues a training; False where one waits or runs already for the project."""
        return self._enqueue(
            TRAIN, "training.jobs.train", (project_id, reason), job_id=f"train-{project_id}",
            timeout_s=self._settings.train_timeout_s,
        )  # fmt: skip

    def _enqueue(self, queue: str, function: str, args: tuple[Any, ...], *, job_id: str | None, timeout_s: int) -> bool:
        target = Queue(queue, connection=self.redis)
        with _redis_errors():
            if job_id is not None and not _make_room(target, job_id):
                logger.info("Job %s is queued already", job_id)
                return False
            try:
                target.enqueue(
                    function, args=args, job_id=job_id, unique=job_id is not None, job_timeout=timeout_s,
                    result_ttl=KEEP_RESULT_S, failure_ttl=KEEP_FAILURE_S,
                )  # fmt: skip
            except DuplicateJobError:
                return False
        return True

    def snapshot(self) -> dict[str, Any]:
        """What waits, runs and failed, with each running job's progress: for `GET /status`."""
        with _redis_errors():
            queues = {name: Queue(name, connection=self.redis) for name in QUEUES}
            return {
                "approved": self.counts(),
                "waiting": {name: len(queue) for name, queue in queues.items()},
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
                    for worker in Worker.all(connection=self.redis)
                ],
            }


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _make_room(queue: Queue, job_id: str) -> bool:
    """False where a job of that id waits or runs; one that has ended is removed, as RQ counts it as there."""
    # Not `queue.fetch_job`: what it does not find it takes off the queue, where another process may just have put it.
    try:
        job = Job.fetch(job_id, connection=queue.connection)
    except NoSuchJobError:
        return True
    if job.get_status() in OPEN_STATES and not _is_lost(job, queue):
        return False
    job.delete()
    return True


def _is_lost(job: Job, queue: Queue) -> bool:
    """Whether the job counts as waiting, but is in no queue: it would never run, nor let its like be queued."""
    if job.get_status() != JobStatus.QUEUED or job.enqueued_at is None:
        return False
    # A worker that takes it off the queue has not marked it as started yet.
    if now() - job.enqueued_at < LOST_AFTER:
        return False
    return queue.get_job_position(job.id) is None and job.id not in queue.intermediate_queue.get_job_ids()


def _jobs(ids: Callable[[], list[str]], queue: Queue) -> list[Job]:
    return [job for job in Job.fetch_many(ids(), connection=queue.connection) if job is not None]


def _described(job: Job) -> dict[str, Any]:
    result = job.latest_result()
    reason = (result.exc_string or "").strip().splitlines()[-1:] if result else []
    return {"id": job.id, "queue": job.origin, "progress": job.get_meta(), **({"reason": reason[0]} if reason else {})}


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except RedisError as e:
        raise QueueError(f"Redis does not answer ({type(e).__name__}).") from e
