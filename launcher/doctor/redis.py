"""`drape doctor` checks Redis, which holds the queues, and the workers and the timer that it lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError
from rq.cron import CronScheduler

from backend.errors import QueueError, first_line
from backend.queues.queues import QUEUES
from backend.queues.redis_connection import workers_of
from backend.settings import Settings
from launcher.doctor.findings import Finding, State, compare_clocks, run_check

# Older releases lack LMOVE: a job would be lost if its worker died while it took the job off the queue.
OLDEST_VERSION = (6, 2)
TIMEOUT_S = 3.0
START_IT = (
    "Start it (`make up`, `docker-compose up`), or set REDIS_URL to one that runs: redis://:password@host:6379/0."
)


def check_redis(settings: Settings) -> list[Finding]:
    """Checks Redis itself, then the workers and the timer that it lists."""
    return run_check("Redis", lambda: _check_redis(settings), remedy=START_IT)


def _check_redis(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        message = "REDIS_URL is not set, and `drape up` has not stored one in this data directory."
        yield Finding("Redis", "failed", message, START_IT)
        return
    with Redis.from_url(
        settings.redis_address, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S
    ) as connection:
        options = connection.connection_pool.connection_kwargs
        address = str(options.get("path") or f"{options.get('host')}:{options.get('port', 6379)}")
        try:
            info: dict[str, Any] = connection.info()
            local_s, (seconds, microseconds) = time.time(), connection.time()
            yield from _check_server(address, info)
            yield compare_clocks("Redis' clock", remote_s=seconds + microseconds / 1e6, local_s=local_s)
            yield from _check_workers(connection)
            yield _check_timer(connection)
        except AuthenticationError as e:
            raise QueueError(f"Redis at {address} refuses the password of REDIS_URL.") from e
        except RedisError as e:
            # The message of a connection error may contain the address, but never the password.
            raise QueueError(f"Redis does not answer at {address} ({type(e).__name__}: {first_line(e)}).") from e


def _check_server(address: str, info: dict[str, Any]) -> Iterator[Finding]:
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
        message = f"Redis {version} at {address} is too old."
        yield Finding("Redis", "failed", message, "Install Redis 6.2 or newer, or Valkey.")
    else:
        yield Finding("Redis", "ok", f"Redis {version} answers at {address}.")
    if info.get("aof_enabled"):
        yield Finding("Redis' persistence", "ok", "It writes every change to its append-only file.")
    else:
        yield Finding(
            "Redis' persistence",
            "warning",
            "It has no append-only file: a restart may lose queued jobs.",
            "Set `appendonly yes`. Labels and models are safe in any case, and the timer queues lost jobs again.",
        )
    if info.get("rdb_last_bgsave_status") == "err" or info.get("aof_last_write_status") == "err":
        yield Finding(
            "Redis' disk",
            "failed",
            "Redis could not write to its disk, so it refuses new jobs.",
            "Free some space on Redis' disk, and read its log.",
        )
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield Finding("Redis' memory", "ok", f"{info.get('used_memory_human', '?')} used; it never drops a key.")
    else:
        state: State = "failed" if info.get("maxmemory") else "warning"
        message = f"When memory is short, it drops keys ({policy}), and with them jobs."
        yield Finding("Redis' memory", state, message, "Set `maxmemory-policy noeviction`.")


def _check_workers(connection: Redis) -> Iterator[Finding]:
    workers = workers_of(connection)
    for queue in QUEUES:
        count = sum(queue in worker.queue_names() for worker in workers)
        waiting = connection.llen(f"rq:queue:{queue}")
        name = f"workers: {queue}"
        if count:
            yield Finding(name, "ok", f"{count} running, {waiting} jobs waiting.")
        else:
            yield Finding(
                name,
                "failed",
                f"No worker runs for this queue, {waiting} jobs waiting.",
                f"Start one: `drape worker --queue {queue}`.",
            )


def _check_timer(connection: Redis) -> Finding:
    # Without clean-up, because this command changes nothing. A timer's record disappears when its heartbeats stop.
    if CronScheduler.all(connection, cleanup=False):
        return Finding("timer", "ok", "It runs, and checks every project at an interval.")
    return Finding(
        "timer",
        "warning",
        "No timer runs: changes whose webhook was lost are not noticed.",
        "Start one: `drape timer`.",
    )
