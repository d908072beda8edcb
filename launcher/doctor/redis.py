"""`drape doctor` checks Redis, which holds the queues, and the workers and the timer that it lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError
from rq.cron import CronScheduler

from backend.errors import QueueError, first_line
from backend.queues.lost_jobs import is_dead
from backend.queues.queues import CHECKS, PRELABEL, QUEUES, TRAIN
from backend.queues.redis_connection import workers_of
from backend.settings import Settings
from launcher.doctor.findings import Finding, State, clock, looked

# The oldest Redis that RQ supports.
OLDEST = (5, 0)
# Without a worker on each of these queues the flywheel stops; the other queues only make it faster or better.
NEEDED = frozenset({CHECKS, PRELABEL, TRAIN})
PATIENCE_S = 3.0
START_IT = (
    "Start it (`make up`, `docker-compose up`), or set REDIS_URL to one that runs: redis://:password@host:6379/0."
)


def look_at_redis(settings: Settings) -> list[Finding]:
    """Checks Redis itself, then the workers and the timer that it lists."""
    return looked("Redis", lambda: _look(settings), remedy=START_IT)


def _look(settings: Settings) -> Iterator[Finding]:
    if not settings.redis_url:
        yield Finding("Redis", "failed", "REDIS_URL is not set, and no `drape up` has left one here.", START_IT)
        return
    with Redis.from_url(
        settings.redis_address, socket_connect_timeout=PATIENCE_S, socket_timeout=PATIENCE_S
    ) as connection:
        facts = connection.connection_pool.connection_kwargs
        where = str(facts.get("path") or f"{facts.get('host')}:{facts.get('port', 6379)}")
        try:
            about: dict[str, Any] = connection.info()
            ours_s, (seconds, microseconds) = time.time(), connection.time()
            yield from _itself(where, about)
            yield clock("Redis' clock", theirs_s=seconds + microseconds / 1e6, ours_s=ours_s)
            yield from _workers(connection)
            yield _timer(connection)
        except AuthenticationError as e:
            raise QueueError(f"Redis at {where} refuses the password of REDIS_URL.") from e
        except RedisError as e:
            # The message of a connection error may contain the address, but never the password.
            raise QueueError(f"Redis does not answer at {where} ({type(e).__name__}: {first_line(e)}).") from e


def _itself(where: str, about: dict[str, Any]) -> Iterator[Finding]:
    version = str(about.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        said = f"Redis {version} at {where} is older than RQ supports."
        yield Finding("Redis", "failed", said, "Install Redis 6 or newer, or Valkey.")
    else:
        yield Finding("Redis", "ok", f"Redis {version} answers at {where}.")
    if about.get("aof_enabled"):
        yield Finding("Redis' persistence", "ok", "It writes every change to its append-only file.")
    else:
        yield Finding(
            "Redis' persistence",
            "warning",
            "It keeps no append-only file: a restart may lose what is queued.",
            "Set `appendonly yes`. No label and no model would be lost: the timer finds what was queued again.",
        )
    if about.get("rdb_last_bgsave_status") == "err" or about.get("aof_last_write_status") == "err":
        yield Finding(
            "Redis' disk",
            "failed",
            "Its last attempt to write to its disk failed; it then refuses new jobs.",
            "Free some space on Redis' disk, and look at its log.",
        )
    policy = str(about.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield Finding("Redis' memory", "ok", f"{about.get('used_memory_human', '?')} used; it never drops a key.")
    else:
        state: State = "failed" if about.get("maxmemory") else "warning"
        said = f"When memory is short it drops keys ({policy}), and jobs with them."
        yield Finding("Redis' memory", state, said, "Set `maxmemory-policy noeviction`.")


def _workers(connection: Redis) -> Iterator[Finding]:
    alive = [worker for worker in workers_of(connection) if not is_dead(worker)]
    for queue in QUEUES:
        count = sum(queue in worker.queue_names() for worker in alive)
        waiting = connection.llen(f"rq:queue:{queue}")
        name = f"workers: {queue}"
        if count:
            yield Finding(name, "ok", f"{count} at work; {waiting} jobs wait.")
        else:
            yield Finding(
                name,
                "failed" if queue in NEEDED or waiting else "warning",
                f"No worker works on this queue; {waiting} jobs wait.",
                f"Start one: `drape worker --queue {queue}`.",
            )


def _timer(connection: Redis) -> Finding:
    # Without clean-up, because this command changes nothing. A timer's record disappears when its heartbeats stop.
    if CronScheduler.all(connection, cleanup=False):
        return Finding("timer", "ok", "It looks after every project from time to time.")
    return Finding(
        "timer",
        "warning",
        "No timer runs: what a lost webhook would have told is not found.",
        "Start one: `drape timer`.",
    )
