"""What the processes that pre-annotate leave in Redis for each other and for `GET /status`. All of it may be lost."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
# Takes what is free, or held for the same job by a worker that was given up; the places of the keys that it took.
CLAIM = """
local taken = {}
for place, key in ipairs(KEYS) do
  local holder = redis.call('GET', key)
  if not holder or string.sub(holder .. ':', 1, #ARGV[1]) == ARGV[1] then
    redis.call('SET', key, ARGV[1] .. ARGV[2], 'EX', ARGV[3])
    taken[#taken + 1] = place
  end
end
return taken
"""
# Gives free what is still held so.
RELEASE = """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""


@dataclass(frozen=True)
class Holder:
    """Who predicts a task: one `run` of a `job`. A later run of the job takes its tasks over from an earlier one."""

    job: str
    run: str

    @classmethod
    def of(cls, job: str) -> Holder:
        """A new run of a job."""
        return cls(job, secrets.token_hex(8))

    def __str__(self) -> str:
        return f"{self.job}:{self.run}"


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

    def claim(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> set[int]:
        """Those of the tasks that `holder` may predict: nobody else does, but for a later run of the same job."""
        keys = [_claim_key(project_id, version, task_id) for task_id in task_ids]
        try:
            taken = self._redis.eval(CLAIM, len(keys), *keys, f"{holder.job}:", holder.run, CLAIM_S) if keys else []
        except RedisError:
            return set(task_ids)
        return {task_ids[place - 1] for place in taken}

    def held(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> set[int]:
        """Those of the tasks that `holder` has claimed and nobody has taken over since, as far as is known."""
        if not task_ids:
            return set()
        try:
            holders = self._redis.mget([_claim_key(project_id, version, task_id) for task_id in task_ids])
        except RedisError:
            return set(task_ids)
        return {task_id for task_id, one in zip(task_ids, holders, strict=True) if one in (None, str(holder).encode())}

    def release(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> None:
        """Gives tasks free that `holder` claimed."""
        keys = [_claim_key(project_id, version, task_id) for task_id in task_ids]
        try:
            if keys:
                self._redis.eval(RELEASE, len(keys), *keys, str(holder))
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
        """Marks them, each until its own time is over: others that are marked later do not lengthen it."""
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
            logger.debug("Redis is away: %s marks are not set", len(task_ids))

    def _among(self, key: str, task_ids: Sequence[int]) -> set[int]:
        if not task_ids:
            return set()
        try:
            until = self._redis.zmscore(key, [str(task_id) for task_id in task_ids])
        except RedisError:
            return set()
        now = time.time()
        return {task_id for task_id, moment in zip(task_ids, until, strict=True) if moment is not None and moment > now}


def _claim_key(project_id: int, version: str, task_id: int) -> str:
    return f"drape:claim:{project_id}:{version}:{task_id}"


def _minute_key(moment: float) -> str:
    return f"drape:predicted:{int(moment // MINUTE_S)}"
