"""Task claims: which run of which job predicts a task, so that no two runs do. Claims may be lost without harm."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job
from rq.utils import as_text

logger = logging.getLogger(__name__)

# Longer than a job may run; a claim that is not released expires after it.
CLAIM_S = 2 * 3600
# Claims keys that are free, or whose holder's worker is lost: an earlier run of the job, or of a job that was given up,
# as a job that fails by itself releases its claims. Returns the positions of all, and of those that had a holder.
CLAIM = """
local function given_up(holder)
  return redis.call('HGET', ARGV[4] .. string.match(holder, '[^:]*'), 'status') == 'failed'
end
local taken, inherited = {}, {}
for place, key in ipairs(KEYS) do
  local holder = redis.call('GET', key)
  if not holder or string.sub(holder .. ':', 1, #ARGV[1]) == ARGV[1] or given_up(holder) then
    redis.call('SET', key, ARGV[1] .. ARGV[2], 'EX', ARGV[3])
    taken[#taken + 1] = place
    if holder then inherited[#inherited + 1] = place end
  end
end
return {taken, inherited}
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


@dataclass(frozen=True)
class Claimed:
    """Ids of the tasks that a run has claimed, and of those among them that an earlier run held.

    The earlier run's worker was silent for too long, and may still write.
    """

    taken: frozenset[int]
    inherited: frozenset[int] = frozenset()


class TaskClaims:
    """The task claims, in Redis. While Redis does not answer, every claim is granted."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def take(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> Claimed:
        """Claims the tasks that no other job holds, and those of an earlier run, or of a job that was given up."""
        keys = [_claim_key(project_id, version, task_id) for task_id in task_ids]
        try:
            places = self._redis.eval(CLAIM, len(keys), *keys, f"{holder.job}:", holder.run, CLAIM_S, Job.key_for(""))
        except RedisError:
            return Claimed(frozenset(task_ids))
        return Claimed(*(frozenset(task_ids[place - 1] for place in found) for found in places))

    def holders(self, project_id: int, version: str, task_ids: Sequence[int]) -> dict[int, str]:
        """Task id → its holder, as text; '' where the claim was released, or Redis has lost it.

        Raises:
            RedisError: Redis does not answer.
        """
        found = self._redis.mget([_claim_key(project_id, version, task_id) for task_id in task_ids]) if task_ids else []
        return {task_id: as_text(holder or b"") for task_id, holder in zip(task_ids, found, strict=True)}

    def release(self, project_id: int, version: str, task_ids: Sequence[int], *, holder: Holder) -> None:
        """Releases the claims of `holder` on the tasks."""
        keys = [_claim_key(project_id, version, task_id) for task_id in task_ids]
        try:
            if keys:
                self._redis.eval(RELEASE, len(keys), *keys, str(holder))
        except RedisError:
            logger.debug("Redis does not answer: claims end by themselves")


def _claim_key(project_id: int, version: str, task_id: int) -> str:
    return f"drape:claim:{project_id}:{version}:{task_id}"
