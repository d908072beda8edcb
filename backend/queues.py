"""RQ queues, job names, and the hints of new labels and tasks.

Jobs are enqueued by their dotted names: the backend never imports `training`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.utils import now

from backend.errors import QueueError
from backend.settings import Settings

logger = logging.getLogger(__name__)

CHECKS, PRELABEL, TRAIN, CLUSTERS, EMBED = "checks", "prelabel", "train", "clusters", "embed"
# A worker takes from the first that holds a job: what no annotator waits for comes last.
QUEUES = (CHECKS, PRELABEL, TRAIN, CLUSTERS, EMBED)
REDIS_PATIENCE_S = 2.0
# A hint that a lost job left behind is forgotten after this long; until then it would swallow new hints.
HINT_LIFE_S = 600
PRELABEL_TIMEOUT_S = 3600
CHECK_TIMEOUT_S = 600
LOST_AFTER = timedelta(seconds=30)
# On a CPU SAM 3 encodes an image a minute.
EMBED_TIMEOUT_S = 6 * 3600
KEEP_RESULT_S = 3600
# A worker that dies takes its job along; one that kills every worker shall not go on for ever.
RETRIES = 3
LOCK_S = 60
OPEN_STATES = frozenset({JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED})
KEEP_FAILURE_S = 7 * 24 * 3600


class Keys:
    """Names in Redis besides RQ's own."""

    # Hash, project id → `new/needed` as last counted; a hint for `/status`, which Label Studio can always give anew.
    COUNTS = "drape:counts"
    # Hash, project id → JSON of what audits found, likewise.
    AUDITS = "drape:audits"

    @staticmethod
    def check_pending(project_id: int) -> str:
        """Set while a check of the project's approvals waits in the queue."""
        return f"drape:check-pending:{project_id}"

    @staticmethod
    def plan_pending(project_id: int) -> str:
        """Set while a plan of what is to be pre-annotated waits in the queue."""
        return f"drape:plan-pending:{project_id}"

    @staticmethod
    def prelabel_lock(project_id: int) -> str:
        """Held while the project's tasks are shared out among jobs."""
        return f"drape:prelabel-lock:{project_id}"


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

    def enqueue_plan(self, project_id: int) -> bool:
        """Queues a look for tasks that wait for pre-annotation; False where one waits already.

        The mark is taken away as the look begins (`begin_plan`), so that what arrives during it brings another.
        """
        return self._enqueue_hint(Keys.plan_pending(project_id), "backend.prelabel.plan", (project_id,))

    def begin_plan(self, project_id: int) -> None:
        """Says that a plan begins: what arrives from now on is not in it."""
        with redis_errors():
            self.redis.delete(Keys.plan_pending(project_id))

    def enqueue_imported(self, project_id: int, task_ids: Sequence[int]) -> bool:
        """Queues the sharing out of tasks that were imported, in one step however many; the same event once."""
        digest = hashlib.sha256(str(list(task_ids)).encode()).hexdigest()[:16]
        return self._enqueue(
            CHECKS, "backend.prelabel.share_out", (project_id, list(task_ids)),
            job_id=f"imported-{project_id}-{digest}", timeout_s=CHECK_TIMEOUT_S, repeat=False,
        )  # fmt: skip

    def enqueue_prelabel(self, project_id: int, task_ids: Sequence[int], *, version: str) -> list[str]:
        """Queues pre-annotation by `version` in jobs of a few dozen tasks.

        Tasks that an open job of the same version holds are left to it.

        Args:
            version: a model version's name; '' for whatever answers for a project that has no model.

        Returns:
            Ids of the jobs that hold the tasks, new and open ones.
        """
        size = self._settings.prelabel_chunk
        queue = Queue(PRELABEL, connection=self.redis)
        with redis_errors(), self.redis.lock(Keys.prelabel_lock(project_id), timeout=LOCK_S):
            holders = {
                task_id: job.id
                for job in open_jobs(queue)
                if tuple(job.args[:2]) == (project_id, version)
                for task_id in job.args[2]
            }
            free = [task_id for task_id in dict.fromkeys(task_ids) if task_id not in holders]
            made = [
                Queue.prepare_data(
                    "backend.prelabel.prelabel",
                    (project_id, version, free[first : first + size]),
                    job_id=f"prelabel-{project_id}-{secrets.token_hex(8)}",
                    timeout=PRELABEL_TIMEOUT_S,
                    result_ttl=KEEP_RESULT_S,
                    failure_ttl=KEEP_FAILURE_S,
                    retry=Retry(max=RETRIES),
                )
                for first in range(0, len(free), size)
            ]
            queue.enqueue_many(made)
        held = {holders[task_id] for task_id in task_ids if task_id in holders}
        return sorted(held) + [str(one.job_id) for one in made]

    def enqueue_clusters(self, project_id: int, version: str, clusters: Mapping[int, int]) -> None:
        """Queues the writing of groups, by task id, into `version`'s predictions."""
        self._enqueue(
            CLUSTERS, "backend.prelabel.write_clusters", (project_id, version, dict(clusters)), job_id=None,
            timeout_s=PRELABEL_TIMEOUT_S,
        )  # fmt: skip

    def enqueue_embed(self, project_id: int, task_ids: Sequence[int]) -> list[str]:
        """Queues the encoding of the tasks' images in chunks; returns the jobs' ids, those that wait already too."""
        ids = []
        size = self._settings.prelabel_chunk
        for first in range(0, len(task_ids), size):
            chunk = list(task_ids[first : first + size])
            ids.append(f"embed-{project_id}-{hashlib.sha256(str(chunk).encode()).hexdigest()[:16]}")
            self._enqueue(EMBED, "backend.embed.embed", (project_id, chunk), job_id=ids[-1], timeout_s=EMBED_TIMEOUT_S)
        return ids

    def enqueue_check(self, project_id: int) -> bool:
        """Queues one count of the project's approved labels; False where one waits already.

        The mark is taken away as the count begins (`begin_check`), so that an event during it queues another.
        """
        return self._enqueue_hint(Keys.check_pending(project_id), "training.jobs.check_approvals", (project_id,))

    def begin_check(self, project_id: int) -> None:
        """Says that a count begins: what arrives from now on is not in it."""
        with redis_errors():
            self.redis.delete(Keys.check_pending(project_id))

    def remember_count(self, project_id: int, *, new: int, needed: int) -> None:
        """Keeps the outcome of a count for `GET /status`."""
        with redis_errors():
            self.redis.hset(Keys.COUNTS, str(project_id), f"{new}/{needed}")

    def counts(self) -> dict[str, dict[str, int]]:
        """Project id → `new` approved annotations and how many are `needed` for a training, as last counted."""
        with redis_errors():
            rows = self.redis.hgetall(Keys.COUNTS)
        split = {_text(project): _text(counted).split("/") for project, counted in rows.items()}
        return {project: {"new": int(new), "needed": int(needed)} for project, (new, needed) in split.items()}

    def remember_audit(self, project_id: int, *, version: str, images: int, regions: int, wrong: int) -> None:
        """Keeps what audits of a version found, for `GET /status`."""
        found = {"version": version, "images": images, "regions": regions, "wrong": wrong}
        with redis_errors():
            self.redis.hset(Keys.AUDITS, str(project_id), json.dumps(found))

    def audits(self) -> dict[str, dict[str, Any]]:
        """Project id → what `remember_audit` kept last."""
        with redis_errors():
            rows = self.redis.hgetall(Keys.AUDITS)
        return {_text(project): json.loads(found) for project, found in rows.items()}

    def enqueue_training(self, project_id: int, *, reason: str) -> bool:
        """Queues a training; False where one waits or runs already for the project."""
        return self._enqueue(
            TRAIN, "training.jobs.train", (project_id, reason), job_id=f"train-{project_id}",
            timeout_s=self._settings.train_timeout_s,
        )  # fmt: skip

    def _enqueue_hint(self, mark: str, function: str, args: tuple[Any, ...]) -> bool:
        with redis_errors():
            if not self.redis.set(mark, 1, nx=True, ex=HINT_LIFE_S):
                return False
        return self._enqueue(CHECKS, function, args, job_id=None, timeout_s=CHECK_TIMEOUT_S)

    def _enqueue(
        self,
        queue: str,
        function: str,
        args: tuple[Any, ...],
        *,
        job_id: str | None,
        timeout_s: int,
        repeat: bool = True,
    ) -> bool:
        """False where a job of that id is open, or, unless it may be repeated, was done within the hour."""
        target = Queue(queue, connection=self.redis)
        with redis_errors():
            if job_id is not None and not _make_room(target, job_id, repeat=repeat):
                logger.info("Job %s is queued already", job_id)
                return False
            try:
                target.enqueue(
                    function, args=args, job_id=job_id, unique=job_id is not None, job_timeout=timeout_s,
                    result_ttl=KEEP_RESULT_S, failure_ttl=KEEP_FAILURE_S, retry=Retry(max=RETRIES),
                )  # fmt: skip
            except DuplicateJobError:
                return False
        return True


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def open_jobs(queue: Queue) -> list[Job]:
    """The queue's jobs that wait or run; their records alone, RQ's cleaning of them is not set off."""
    ids = [*queue.get_job_ids(), *queue.started_job_registry.get_job_ids(cleanup=False)]
    return [job for job in Job.fetch_many(ids, connection=queue.connection) if job is not None]


def _make_room(queue: Queue, job_id: str, *, repeat: bool) -> bool:
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


@contextmanager
def redis_errors() -> Iterator[None]:
    """Says in a sentence that Redis is away."""
    try:
        yield
    except RedisError as e:
        raise QueueError(f"Redis does not answer ({type(e).__name__}).") from e
