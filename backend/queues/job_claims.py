"""Job claims: which worker has taken which job off its queue, until RQ lists the job as running.

RQ takes a job off a queue in one step, and records a few steps later that it runs. A worker that is killed in between,
or does not receive Redis' answer, loses the job. Here one script takes the job and records the claim.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.exceptions import DequeueTimeout, NoSuchJobError
from rq.job import Job, JobStatus
from rq.utils import as_text

# Polls, as Redis can wait on several queues only with BLPOP, which takes the job and records no claim.
POLL_S = 0.1
# Returns the same job again to a worker that did not receive the first answer.
_TAKE = """
for n = 1, #KEYS, 2 do
  local held = redis.call('HGET', KEYS[n + 1], ARGV[1])
  if held then return {KEYS[n], held} end
end
for n = 1, #KEYS, 2 do
  local id = redis.call('LPOP', KEYS[n])
  if id then
    redis.call('HSET', KEYS[n + 1], ARGV[1], id)
    return {KEYS[n], id}
  end
end
return false
"""
# The worker that deletes the claim requeues the job: two workers may notice the same dead worker at once.
_PUT_BACK = """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
if ARGV[3] == '0' or redis.call('LPOS', KEYS[1], ARGV[2]) then return 0 end
-- Cancelled, queued again under the same id, and taken by another.
for _, id in ipairs(redis.call('HVALS', KEYS[2])) do
  if id == ARGV[2] then return 0 end
end
redis.call('LPUSH', KEYS[1], ARGV[2])
return 1
"""


CLAIMS = "drape:claims:"


def claims_key(queue: str) -> str:
    """Key of the hash worker's name → id of the job that it has taken off the queue and not started."""
    return f"{CLAIMS}{queue}"


def claims(queue: Queue) -> dict[str, str]:
    """Worker's name → id of the job that it has taken off the queue and not started.

    Raises:
        RedisError: Redis does not answer.
    """
    found = queue.connection.hgetall(claims_key(queue.name))
    return {as_text(worker): as_text(job_id) for worker, job_id in found.items()}


def claimed_ids(queue: Queue) -> list[str]:
    """Ids of the jobs that workers have taken off the queue and not started.

    Raises:
        RedisError: Redis does not answer.
    """
    return list(claims(queue).values())


def holds(queue: Queue, job_id: str, *, worker: str) -> bool:
    """Whether the worker still holds the claim on the job, and the job still exists.

    Raises:
        RedisError: Redis does not answer.
    """
    return claims(queue).get(worker) == job_id and Job.exists(job_id, connection=queue.connection)


def take(connection: Redis, queues: Sequence[Queue], *, worker: str) -> tuple[Queue, str] | None:
    """Takes the first job off the first queue that is not empty; None where all are empty.

    Returns:
        The queue, and the job's id; a job that the worker has claimed before and not started comes first.

    Raises:
        RedisError: Redis does not answer.
    """
    keys = [key for queue in queues for key in (queue.key, claims_key(queue.name))]
    found: list[bytes | str] | None = connection.register_script(_TAKE)(keys=keys, args=[worker])
    if not found:
        return None
    key, job_id = map(as_text, found)
    return next(queue for queue in queues if queue.key == key), job_id


def begun(queues: Iterable[Queue], job_id: str, *, worker: str) -> None:
    """Releases the worker's claim on a job that RQ now lists as running, or that the worker does not run.

    Args:
        queues: the queues that the worker takes jobs off.

    Raises:
        RedisError: Redis does not answer.
    """
    for queue in queues:
        if claims(queue).get(worker) == job_id:
            queue.connection.hdel(claims_key(queue.name), worker)


def put_back(queue: Queue, job_id: str, *, worker: str) -> bool:
    """Requeues, at the head of the queue, a job that a dead worker had claimed.

    Returns:
        False where the worker no longer holds the claim, or the job runs, has run, or waits already.

    Raises:
        RedisError: Redis does not answer.
    """
    script = queue.connection.register_script(_PUT_BACK)
    keys = [queue.key, claims_key(queue.name)]
    return bool(script(keys=keys, args=[worker, job_id, int(_waits(queue, job_id))]))


def _waits(queue: Queue, job_id: str) -> bool:
    """Whether the job still waits; False where its worker had started it, by its execution record, or it is gone."""
    status = queue.connection.hget(Job.key_for(job_id), "status")
    waits = status is not None and as_text(status) == JobStatus.QUEUED.value
    return waits and job_id not in queue.started_job_registry.get_job_ids(cleanup=False)


class ClaimedQueue(Queue):
    """A queue whose worker claims each job as it takes it, so that no job is lost if the worker dies."""

    # The worker's name.
    worker = ""

    @classmethod
    def dequeue_any(
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: Redis,
        job_class: type[Job] | None = None,
        serializer: Any = None,
        death_penalty_class: Any = None,
    ) -> tuple[Job, Queue] | None:
        """Takes the next job, in place of RQ's method.

        Args:
            timeout: seconds to wait where all queues are empty; None to return None at once.

        Raises:
            DequeueTimeout: no job came.
            RedisError: Redis does not answer.
        """
        ordered = list(queues)
        worker = next(one.worker for one in ordered if isinstance(one, ClaimedQueue))
        ends_at = time.monotonic() + (timeout or 0)
        while True:
            taken = take(connection, ordered, worker=worker)
            if taken is not None:
                queue, job_id = taken
                try:
                    return (job_class or Job).fetch(job_id, connection=connection, serializer=serializer), queue
                except NoSuchJobError:
                    begun([queue], job_id, worker=worker)
                except RedisError:
                    raise
                except Exception:
                    # The job's record cannot be read, so no worker could run it; RQ reports the error.
                    begun([queue], job_id, worker=worker)
                    raise
            elif timeout is None:
                return None
            elif time.monotonic() > ends_at:
                raise DequeueTimeout(timeout, [one.key for one in ordered])
            else:
                time.sleep(POLL_S)
