"""Task claims: which run of which job predicts a task, so that no two runs do. Claims may be lost without harm."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# Longer than a job may run; a claim that is not released expires after it.
CLAIM_S = 2 * 3600
# Claims keys that are free, or that an earlier run of the job holds, whose worker is lost; returns their positions.
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
# Releases the keys that this holder still holds.
RELEASE = """
for _, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[1] then redis.call('DEL', key) end
end
"""


@dataclass(frozen=True)
class Holder:
    """The holder of a task claim: one `run` of a `job`. A later run of the job takes over an earlier run's claims."""

    job: str
    run: str

    @classmethod
    def of(cls, job: str) -> Holder:
        """A new run of a job."""
        return cls(job, secrets.token_hex(8))

    def __str__(self) -> str:
        return f"{self.job}:{self.run}"


class TaskClaims:
    """The task claims, in Redis. While Redis does not answer, every claim is granted."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def take(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> set[int]:
        """Claims and returns the tasks that no other job holds; a later run of the same job may take them over."""
        keys = [_claim_key(project_id, version, task_id) for task_id in task_ids]
        try:
            taken = self._redis.eval(CLAIM, len(keys), *keys, f"{holder.job}:", holder.run, CLAIM_S) if keys else []
        except RedisError:
            return set(task_ids)
        return {task_ids[place - 1] for place in taken}

    def held(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> set[int]:
        """Those of the claimed tasks that no later run has taken over; a claim that Redis has lost still counts."""
        if not task_ids:
            return set()
        try:
            holders = self._redis.mget([_claim_key(project_id, version, task_id) for task_id in task_ids])
        except RedisError:
            return set(task_ids)
        return {task_id for task_id, one in zip(task_ids, holders, strict=True) if one in (None, str(holder).encode())}

    def release(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> None:
        """Releases the claims of `holder` on the tasks."""
        keys = [_claim_key(project_id, version, task_id) for task_id in task_ids]
        try:
            if keys:
                self._redis.eval(RELEASE, len(keys), *keys, str(holder))
        except RedisError:
            logger.debug("Redis is away: claims end by themselves")


def _claim_key(project_id: int, version: str, task_id: int) -> str:
    return f"drape:claim:{project_id}:{version}:{task_id}"
