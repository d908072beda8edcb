"""The connection to Redis: how long it is waited for, and what is said when it is away."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import AbstractBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry as Attempts
from rq import Worker
from rq.worker import BaseWorker

from backend.errors import QueueError

logger = logging.getLogger(__name__)

REDIS_PATIENCE_S = 2.0
# For those that wait: of a cable that is out nothing tells but silence.
ANSWER_S = 30.0
LONGEST_PAUSE_S = 5.0
# As redis-py counts attempts.
FOR_EVER = -1
# Attempts that fail before it is said.
SILENT_ATTEMPTS = 3


def workers_of(redis: Redis) -> list[BaseWorker]:
    """All workers that Redis knows.

    Raises:
        RedisError: Redis is away.
    """
    settings = redis.connection_pool.connection_kwargs
    patience_s = settings.get("socket_timeout")
    try:
        return list(Worker.all(connection=redis))
    finally:
        # RQ has each worker that it reads wait for Redis as long as one that waits for jobs does.
        settings["socket_timeout"] = patience_s


class _Waiting(AbstractBackoff):
    """Pauses between attempts, longer each time; says once that Redis is waited for."""

    def compute(self, failures: int) -> float:
        if failures == SILENT_ATTEMPTS:
            logger.warning("Redis does not answer; it is waited for")
        return float(min(0.1 * 2 ** min(failures, 10), LONGEST_PAUSE_S))


def wait_for_redis(redis: Redis) -> None:
    """From now on every command to a Redis that is away waits until it is there: for processes that live by it."""
    redis.set_retry(Attempts(_Waiting(), FOR_EVER))


def wait_no_longer(redis: Redis) -> None:
    """Takes back what `wait_for_redis` asked for, for a process that is to end: whoever ends it waits for no Redis."""
    redis.set_retry(Attempts(NoBackoff(), 1))


@contextmanager
def redis_errors() -> Iterator[None]:
    """Says in a sentence that Redis is away."""
    try:
        yield
    except RedisError as e:
        raise QueueError(f"Redis does not answer ({type(e).__name__}).") from e
