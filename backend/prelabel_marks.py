"""What the processes that pre-annotate leave in Redis for each other and for `GET /status`. All of it may be lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# Label Studio waits 100 s for `/predict`, and then stores its answer.
ANSWERED_S = 150
FAILED_S = 24 * 3600
# Longer than a job may run: a claim that nobody releases ends by itself.
CLAIM_S = 2 * 3600
MINUTE_S = 60
RATE_MINUTES = 5


class PrelabelMarks:
    """Small facts with a short life. While Redis is away nothing is marked, and nothing is found."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def answered(self, project_id: int, version: str, task_ids: Sequence[int]) -> None:
        """`/predict` gave these predictions to Label Studio, which stores them itself."""
        self._add(f"drape:answered:{project_id}:{version}", task_ids, life_s=ANSWERED_S)

    def just_answered(self, project_id: int, version: str, task_ids: Sequence[int]) -> set[int]:
        """Those of the tasks whose prediction Label Studio has, or is about to store."""
        return self._among(f"drape:answered:{project_id}:{version}", task_ids)

    def claim(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: str) -> set[int]:
        """Those of the tasks that `holder` may predict: nobody else does. Claimed again by the same, they stay its."""
        keys = [_claim_key(project_id, version, task_id) for task_id in task_ids]
        try:
            with self._redis.pipeline() as pipeline:
                for key in keys:
                    pipeline.set(key, holder, nx=True, ex=CLAIM_S)
                pipeline.mget(keys)
                holders = pipeline.execute()[-1]
        except RedisError:
            return set(task_ids)
        return {task_id for task_id, one in zip(task_ids, holders, strict=True) if one in (None, holder.encode())}

    def release(self, project_id: int, version: str, task_ids: Sequence[int]) -> None:
        """Gives claimed tasks free."""
        try:
            if task_ids:
                self._redis.delete(*(_claim_key(project_id, version, task_id) for task_id in task_ids))
        except RedisError:
            logger.debug("Redis is away: claims end by themselves")

    def failed(self, project_id: int, version: str, task_ids: Iterable[int]) -> None:
        """These could not be predicted, for reasons of their own: no plan takes them up again for a day."""
        self._add(f"drape:unpredictable:{project_id}:{version}", list(task_ids), life_s=FAILED_S)

    def without_failed(self, project_id: int, version: str, task_ids: Sequence[int]) -> list[int]:
        """The tasks without those that failed lately."""
        failed = self._among(f"drape:unpredictable:{project_id}:{version}", task_ids)
        return [task_id for task_id in task_ids if task_id not in failed]

    def forgive(self, project_id: int, version: str) -> None:
        """Forgets what failed: somebody asks for it again."""
        try:
            self._redis.delete(f"drape:unpredictable:{project_id}:{version}")
        except RedisError:
            logger.debug("Redis is away: nothing is forgotten")

    def first_time(self, what: str) -> bool:
        """True once a day: whether `what` was not said yet."""
        try:
            return bool(self._redis.set(f"drape:said:{what}", 1, nx=True, ex=FAILED_S))
        except RedisError:
            return False

    def predicted(self, images: int) -> None:
        """So many images were predicted just now."""
        key = _minute_key(time.time())
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.incrby(key, images)
                pipeline.expire(key, MINUTE_S * (RATE_MINUTES + 2))
                pipeline.execute()
        except RedisError:
            logger.debug("Redis is away: %s images are not counted", images)

    def images_a_minute(self) -> float:
        """Images predicted a minute, over the last five whole minutes in which any were.

        Raises:
            RedisError: Redis is away.
        """
        now = time.time()
        counts = self._redis.mget([_minute_key(now - ago * MINUTE_S) for ago in range(1, RATE_MINUTES + 1)])
        busy = [int(count) for count in counts if count]
        return sum(busy) / len(busy) if busy else 0.0

    def _add(self, key: str, task_ids: Sequence[int], *, life_s: int) -> None:
        if not task_ids:
            return
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.sadd(key, *task_ids)
                pipeline.expire(key, life_s)
                pipeline.execute()
        except RedisError:
            logger.debug("Redis is away: %s marks are not set", len(task_ids))

    def _among(self, key: str, task_ids: Sequence[int]) -> set[int]:
        if not task_ids:
            return set()
        try:
            marked = self._redis.smismember(key, list(task_ids))
        except RedisError:
            return set()
        return {task_id for task_id, is_marked in zip(task_ids, marked, strict=True) if is_marked}


def _claim_key(project_id: int, version: str, task_id: int) -> str:
    return f"drape:claim:{project_id}:{version}:{task_id}"


def _minute_key(moment: float) -> str:
    return f"drape:predicted:{int(moment // MINUTE_S)}"
