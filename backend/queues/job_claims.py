"""Which worker has taken which job off its queue, until RQ counts the job among those that run.

RQ takes a job off several queues in one step, and notes a few steps later that it runs: a worker that is killed in
between, or that Redis' answer does not reach, takes the job along. Here taking and noting is one step.
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

# Redis can wait for several queues only by taking a job off them (BLPOP), which notes nothing.
POLL_S = 0.1
# Asked again by a worker that the answer did not reach, it gives the same.
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
# Whoever takes the note away puts the job back: two workers may find it at once.
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
    """Hash, worker's name → id of the job that it has taken off the queue and not begun."""
    return f"{CLAIMS}{queue}"


def claims(queue: Queue) -> dict[str, str]:
    """Worker's name → id of the job that it has taken off the queue and not begun.

    Raises:
        RedisError: Redis is away.
    """
    found = queue.connection.hgetall(claims_key(queue.name))
    return {as_text(worker): as_text(job_id) for worker, job_id in found.items()}


def claimed_ids(queue: Queue) -> list[str]:
    """Ids of the jobs that are taken off the queue and not begun.

    Raises:
        RedisError: Redis is away.
    """
    return list(claims(queue).values())


def holds(queue: Queue, job_id: str, *, worker: str) -> bool:
    """Whether the worker is still the one that has taken the job, and the job is still there.

    Raises:
        RedisError: Redis is away.
    """
    return claims(queue).get(worker) == job_id and Job.exists(job_id, connection=queue.connection)


def take(connection: Redis, queues: Sequence[Queue], *, worker: str) -> tuple[Queue, str] | None:
    """Takes the first job off the first queue that holds one; None where all are empty.

    Returns:
        The queue, and the job's id: the one that the worker has taken already, if it has not begun it.

    Raises:
        RedisError: Redis is away.
    """
    keys = [key for queue in queues for key in (queue.key, claims_key(queue.name))]
    found: list[bytes | str] | None = connection.register_script(_TAKE)(keys=keys, args=[worker])
    if not found:
        return None
    key, job_id = map(as_text, found)
    return next(queue for queue in queues if queue.key == key), job_id


def begun(queues: Iterable[Queue], job_id: str, *, worker: str) -> None:
    """Says that the job which the worker took now counts among those that run, or is none of its any more.

    Args:
        queues: those that the worker takes jobs off.

    Raises:
        RedisError: Redis is away.
    """
    for queue in queues:
        if claims(queue).get(worker) == job_id:
            queue.connection.hdel(claims_key(queue.name), worker)


def put_back(queue: Queue, job_id: str, *, worker: str) -> bool:
    """Puts back, at the head of the queue, a job that a worker which is no more had taken off it.

    Returns:
        False where the worker holds it no longer, where it runs or has run, and where it waits already.

    Raises:
        RedisError: Redis is away.
    """
    script = queue.connection.register_script(_PUT_BACK)
    keys = [queue.key, claims_key(queue.name)]
    return bool(script(keys=keys, args=[worker, job_id, int(_waits(queue, job_id))]))


def _waits(queue: Queue, job_id: str) -> bool:
    """False for one that its worker had begun, which the record of its run tells of, and for one that is gone."""
    status = queue.connection.hget(Job.key_for(job_id), "status")
    waits = status is not None and as_text(status) == JobStatus.QUEUED.value
    return waits and job_id not in queue.started_job_registry.get_job_ids(cleanup=False)


class ClaimedQueue(Queue):
    """A queue of which a worker takes jobs in such a way that none is lost with it."""

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
        """The next job, as RQ's own gives it.

        Args:
            timeout: seconds to wait for a job where there is none; None to return None at once.

        Raises:
            DequeueTimeout: no job came.
            RedisError: Redis is away.
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
                    # Its record cannot be read: nobody could begin it, and RQ says so.
                    begun([queue], job_id, worker=worker)
                    raise
            elif timeout is None:
                return None
            elif time.monotonic() > ends_at:
                raise DequeueTimeout(timeout, [one.key for one in ordered])
            else:
                time.sleep(POLL_S)
