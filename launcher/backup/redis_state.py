"""The part of Redis that a backup holds: jobs that wait or run, and what only Redis has (audits, surveys, problems).

Redis' own file is no backup: it cannot be read over the network, depends on Redis' release, and holds workers, their
heartbeats and marks of work in progress, all of which would belong to dead processes. A backup stores a running job as
a waiting job at the head of its queue, where it would be after the death of its worker. Keys that expire are left out:
they are marks that hold for seconds or hours.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from redis import Redis
from rq import Queue
from rq.job import Job
from rq.results import Result
from rq.utils import as_text

from backend.queues.job_records import OPEN_STATES, delete
from backend.queues.queues import QUEUES

KEY_PATTERN = "drape:*"
OPEN_STATUSES = frozenset(state.value for state in OPEN_STATES)
# Fields of a job about its present run, which a restored job does not continue.
RUN_FIELDS = frozenset({"started_at", "ended_at", "last_heartbeat", "worker_name"})


def read_state(redis: Redis) -> Iterator[str]:
    """Yields a line of JSON for each key and each job, the jobs in the order in which they should run.

    Keys come first: a task that moves from a backlog to a job meanwhile is then in both, which does no harm.
    """
    for key in redis.scan_iter(KEY_PATTERN):
        if redis.ttl(key) == -1 and (record := _read_key(redis, key))["value"]:
            yield json.dumps({"key": as_text(key), **record})
    for queue, job_id in _open_ids(redis):
        fields = redis.hgetall(Job.key_for(job_id))
        # A job that ended meanwhile must not run again.
        if as_text(fields.get(b"status", b"")) in OPEN_STATUSES:
            encoded = {as_text(name): _encode(value) for name, value in fields.items()}
            stored = {name: value for name, value in encoded.items() if name not in RUN_FIELDS}
            yield json.dumps({"queue": queue, "job": job_id, "fields": stored})


def write_state(redis: Redis, lines: Iterable[str]) -> int:
    """Replaces all jobs and keys of Drape with those of a backup; returns how many jobs wait now."""
    _delete_all(redis)
    queues = {name: Queue(name, connection=redis) for name in QUEUES}
    jobs = 0
    for line in lines:
        record = json.loads(line)
        if "job" not in record:
            _write_key(redis, record)
        # A queue that no longer exists has no worker.
        elif record["queue"] in queues:
            fields = {name: _decode(value) for name, value in record["fields"].items()}
            # A job of this id may have succeeded since the backup: the restored job would take its success for its own.
            redis.delete(Result.get_key(record["job"]))
            redis.hset(Job.key_for(record["job"]), mapping=fields)
            queues[record["queue"]].enqueue_job(Job.fetch(record["job"], connection=redis))
            jobs += 1
    return jobs


def has_data(redis: Redis) -> bool:
    """Whether Redis holds any open job, or any key of Drape that does not expire."""
    return bool(_open_ids(redis)) or any(redis.ttl(key) == -1 for key in redis.scan_iter(KEY_PATTERN))


def _open_ids(redis: Redis) -> list[tuple[str, str]]:
    """Returns queue and id of every job that waits or runs at one moment; in each queue the running jobs first."""
    queues = [Queue(name, connection=redis) for name in QUEUES]
    with redis.pipeline(transaction=True) as pipeline:
        for queue in queues:
            pipeline.zrange(queue.started_job_registry.key, 0, -1)
            pipeline.zrange(queue.scheduled_job_registry.key, 0, -1)
            # Jobs that a worker has taken but not started.
            pipeline.lrange(queue.intermediate_queue_key, 0, -1)
            pipeline.lrange(queue.key, 0, -1)
        answers = pipeline.execute()
    queue_of: dict[str, str] = {}
    for number, queue in enumerate(queues):
        started, *waiting = answers[4 * number : 4 * number + 4]
        # This registry stores `<job's id>:<run's id>`.
        job_ids = [as_text(entry).partition(":")[0] for entry in started]
        for job_id in [*job_ids, *map(as_text, chain(*waiting))]:
            queue_of.setdefault(job_id, queue.name)
    return [(queue_name, job_id) for job_id, queue_name in queue_of.items()]


def _delete_all(redis: Redis) -> None:
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
        ids |= {*queue.get_job_ids(), *queue.intermediate_queue.get_job_ids()}
        with redis.pipeline() as pipeline:
            for job in Job.fetch_many(sorted(ids), connection=redis):
                if job is not None:
                    delete(job, pipeline)
            pipeline.execute()
        redis.delete(queue.key, queue.intermediate_queue_key, *(registry.key for registry in registries))
    for key in redis.scan_iter(KEY_PATTERN):
        redis.delete(key)


def _read_key(redis: Redis, key: bytes) -> dict[str, Any]:
    match kind := as_text(redis.type(key)):
        case "hash":
            value: Any = {_encode(name): _encode(item) for name, item in redis.hgetall(key).items()}
        case "list":
            value = list(map(_encode, redis.lrange(key, 0, -1)))
        case "set":
            value = list(map(_encode, redis.smembers(key)))
        case "zset":
            value = [[_encode(item), score] for item, score in redis.zscan_iter(key)]
        case "string":
            value = _encode(redis.get(key) or b"")
        case "none":
            # Somebody has removed it meanwhile.
            value = None
        case _:
            raise ValueError(f"A backup cannot hold the Redis type '{kind}' of the key {as_text(key)}.")
    return {"kind": kind, "value": value}


def _write_key(redis: Redis, record: dict[str, Any]) -> None:
    key, value = record["key"], record["value"]
    match record["kind"]:
        case "hash":
            redis.hset(key, mapping={_decode(name): _decode(item) for name, item in value.items()})
        case "list":
            redis.rpush(key, *map(_decode, value))
        case "set":
            redis.sadd(key, *map(_decode, value))
        case "zset":
            redis.zadd(key, {_decode(item): score for item, score in value})
        case "string":
            redis.set(key, _decode(value))
        case kind:
            raise ValueError(
                f"The backup was made by a later Drape: it holds the Redis type '{kind}' of the key {key}."
            )


def _encode(value: bytes | str) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def _decode(value: str) -> bytes:
    return base64.b64decode(value)
