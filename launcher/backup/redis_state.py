"""The part of Redis that a backup holds: jobs that wait or run, and what only Redis has (audits, surveys, problems).

Redis' own file would not do: it cannot be read over the network, depends on Redis' release, and holds workers, their
heartbeats and marks of work in progress, all of which would belong to dead processes. A backup stores a running job as
a waiting job at the head of its queue, as after the death of its worker. Keys that expire are marks for seconds to
hours, and are left out.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.utils import as_text

from backend.queues.job_claims import CLAIMS, claimed_ids, claims_key
from backend.queues.job_records import OPEN_STATES
from backend.queues.queues import QUEUES

OURS = "drape:*"
OPEN = frozenset(state.value for state in OPEN_STATES)
# Fields of a job about its present run, which a restored job does not continue.
OF_A_RUN = frozenset({"started_at", "ended_at", "last_heartbeat", "worker_name"})


def read_state(redis: Redis) -> Iterator[str]:
    """Yields a line of JSON for each job and each key: first the jobs, in the order in which they should run."""
    for queue, job_id in _open_ids(redis):
        fields = redis.hgetall(Job.key_for(job_id))
        # A job that ended meanwhile must not run again.
        if as_text(fields.get(b"status", b"")) in OPEN:
            kept = {as_text(name): _packed(value) for name, value in fields.items() if as_text(name) not in OF_A_RUN}
            yield json.dumps({"queue": queue, "job": job_id, "fields": kept})
    for key in redis.scan_iter(OURS):
        if redis.ttl(key) == -1 and not as_text(key).startswith(CLAIMS):
            yield json.dumps({"key": as_text(key), **_value(redis, key)})


def write_state(redis: Redis, lines: Iterable[str]) -> int:
    """Replaces all jobs and keys of Drape with those of a backup; returns how many jobs wait now."""
    _forget(redis)
    queues = {name: Queue(name, connection=redis) for name in QUEUES}
    jobs = 0
    for line in lines:
        facts = json.loads(line)
        if "job" in facts:
            # The queue no longer exists: no worker would take the job.
            if facts["queue"] not in queues:
                continue
            fields = {name: _unpacked(value) for name, value in facts["fields"].items()}
            redis.hset(Job.key_for(facts["job"]), mapping=fields)
            queues[facts["queue"]].enqueue_job(Job.fetch(facts["job"], connection=redis))
            jobs += 1
        else:
            _put(redis, facts)
    return jobs


def holds_something(redis: Redis) -> bool:
    """Whether Redis holds any open job, or any key of Drape that does not expire."""
    return bool(_open_ids(redis)) or any(redis.ttl(key) == -1 for key in redis.scan_iter(OURS))


def _open_ids(redis: Redis) -> list[tuple[str, str]]:
    """Returns queue and id of every job that waits or runs at one moment; in each queue the running jobs first."""
    queues = [Queue(name, connection=redis) for name in QUEUES]
    with redis.pipeline(transaction=True) as pipeline:
        for queue in queues:
            pipeline.zrange(queue.started_job_registry.key, 0, -1)
            pipeline.zrange(queue.scheduled_job_registry.key, 0, -1)
            # Jobs that a worker has claimed and not yet begun.
            pipeline.hvals(claims_key(queue.name))
            pipeline.lrange(queue.key, 0, -1)
        found = pipeline.execute()
    ids: dict[str, str] = {}
    for number, queue in enumerate(queues):
        started, *others = found[4 * number : 4 * number + 4]
        # This registry stores `<job's id>:<run's id>`.
        for job_id in [as_text(one).partition(":")[0] for one in started] + [
            as_text(one) for many in others for one in many
        ]:
            ids.setdefault(job_id, queue.name)
    return [(queue_name, job_id) for job_id, queue_name in ids.items()]


def _forget(redis: Redis) -> None:
    """Deletes all jobs of Drape's queues, ended jobs too, and all of its keys."""
    for name in QUEUES:
        queue = Queue(name, connection=redis)
        registries = (
            queue.started_job_registry,
            queue.scheduled_job_registry,
            queue.deferred_job_registry,
            queue.failed_job_registry,
            queue.finished_job_registry,
            queue.canceled_job_registry,
        )
        ids = {job_id for registry in registries for job_id in registry.get_job_ids(cleanup=False)}
        ids |= {*queue.get_job_ids(), *claimed_ids(queue)}
        for job in Job.fetch_many(sorted(ids), connection=redis):
            if job is not None:
                job.delete()
        redis.delete(queue.key, queue.intermediate_queue_key, *(registry.key for registry in registries))
    for key in redis.scan_iter(OURS):
        redis.delete(key)


def _value(redis: Redis, key: bytes) -> dict[str, Any]:
    match kind := as_text(redis.type(key)):
        case "hash":
            value: Any = {_packed(name): _packed(one) for name, one in redis.hgetall(key).items()}
        case "list":
            value = [_packed(one) for one in redis.lrange(key, 0, -1)]
        case "set":
            value = [_packed(one) for one in redis.smembers(key)]
        case "string":
            value = _packed(redis.get(key) or b"")
        case _:
            raise ValueError(f"Drape keeps no {kind} in Redis ({as_text(key)}).")
    return {"kind": kind, "value": value}


def _put(redis: Redis, facts: dict[str, Any]) -> None:
    key, value = facts["key"], facts["value"]
    match facts["kind"]:
        case "hash":
            redis.hset(key, mapping={_unpacked(name): _unpacked(one) for name, one in value.items()})
        case "list":
            redis.rpush(key, *map(_unpacked, value))
        case "set":
            redis.sadd(key, *map(_unpacked, value))
        case "string":
            redis.set(key, _unpacked(value))
        case kind:
            raise ValueError(f"A backup of a later Drape: {kind} in Redis.")


def _packed(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _unpacked(value: str) -> bytes:
    return base64.b64decode(value)
