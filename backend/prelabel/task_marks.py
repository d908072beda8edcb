"""Marks in Redis which tasks were answered or failed lately, shared by all processes that pre-annotate.

The marks may be lost without harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# Label Studio waits up to 100 s for `/predict`, and then stores the answer.
ANSWERED_S = 150
FAILED_S = 24 * 3600


class TaskMarks:
    """Marks that expire. While Redis does not answer, nothing is marked, and every task counts as unmarked."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def answered(self, project_id: int, version: str, task_ids: Sequence[int]) -> None:
        """Marks tasks whose predictions `/predict` gave to Label Studio, which stores them itself."""
        self._add(f"drape:answered:{project_id}:{version}", task_ids, life_s=ANSWERED_S)

    def recently_answered(self, project_id: int, version: str, task_ids: Sequence[int]) -> set[int]:
        """Those of the tasks whose prediction Label Studio has just stored or is about to store."""
        return self._among(f"drape:answered:{project_id}:{version}", task_ids)

    def failed(self, project_id: int, version: str, task_ids: Iterable[int]) -> None:
        """Marks tasks whose prediction failed because of the task itself: for a day no plan queues them again."""
        self._add(f"drape:unpredictable:{project_id}:{version}", list(task_ids), life_s=FAILED_S)

    def without_failed(self, project_id: int, version: str, task_ids: Sequence[int]) -> list[int]:
        """The tasks without those marked as failed."""
        failed = self._among(f"drape:unpredictable:{project_id}:{version}", task_ids)
        return [task_id for task_id in task_ids if task_id not in failed]

    def forgive(self, project_id: int, version: str) -> None:
        """Removes all marks of failed tasks, as a person asks for their predictions again."""
        try:
            self._redis.delete(f"drape:unpredictable:{project_id}:{version}")
        except RedisError:
            logger.debug("Redis does not answer: nothing is forgotten")

    def first_time(self, what: str) -> bool:
        """True once a day for each `what`: whether its message is due."""
        try:
            return bool(self._redis.set(f"drape:said:{what}", 1, nx=True, ex=FAILED_S))
        except RedisError:
            return False

    def _add(self, key: str, task_ids: Sequence[int], *, life_s: int) -> None:
        """Marks tasks, each with its own expiry time, which later marks under the same key do not extend."""
        if not task_ids:
            return
        now = time.time()
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.zremrangebyscore(key, 0, now)
                pipeline.zadd(key, {str(task_id): now + life_s for task_id in task_ids})
                pipeline.expire(key, life_s)
                pipeline.execute()
        except RedisError:
            logger.debug("Redis does not answer: %s marks are not set", len(task_ids))

    def _among(self, key: str, task_ids: Sequence[int]) -> set[int]:
        if not task_ids:
            return set()
        try:
            until = self._redis.zmscore(key, [str(task_id) for task_id in task_ids])
        except RedisError:
            return set()
        now = time.time()
        return {task_id for task_id, moment in zip(task_ids, until, strict=True) if moment is not None and moment > now}
