"""Timeouts and retries for Redis, and the error when it does not answer or stores nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from redis import Redis
from redis.backoff import AbstractBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry as Attempts
from rq import Worker
from rq.worker import BaseWorker

from backend.errors import QueueError

logger = logging.getLogger(__name__)

REDIS_TIMEOUT_S = 2.0
# Timeout of processes that wait for Redis: silence is the only sign of an unplugged cable.
ANSWER_S = 30.0
LONGEST_PAUSE_S = 5.0
# redis-py retries without limit at a negative count.
FOR_EVER = -1
JOB_RETRIES = 10
# The failed attempt at which the wait is logged; earlier failures are not.
SILENT_ATTEMPTS = 3
# The answer where a full disk, or too few replicas, forbid writes; redis-py has no class for them.
REFUSAL = re.compile(r"(^|caused error: )(MISCONF|NOREPLICAS) ")

_Result = TypeVar("_Result")


class RedisReadOnlyError(RedisConnectionError):
    """Redis answers, but stores nothing: its disk or its memory is full, or it became a replica."""


class StorageRetry(Attempts):
    """Retries also what Redis refuses to store, as that ends with the full disk; redis-py retries lost connections."""

    def call_with_retry(self, do: Callable[[], _Result], fail: Callable[..., Any], *args: Any, **named: Any) -> _Result:
        """Calls `do` until it succeeds, see `redis.retry.Retry`."""

        def store() -> _Result:
            try:
                return do()
            except ResponseError as e:
                if isinstance(e, OutOfMemoryError | ReadOnlyError) or REFUSAL.search(str(e)):
                    raise RedisReadOnlyError(str(e)) from e
                raise

        return super().call_with_retry(store, fail, *args, **named)


def workers_of(redis: Redis) -> list[BaseWorker]:
    """All workers that are registered in Redis.

    Raises:
        RedisError: Redis does not answer.
    """
    settings = redis.connection_pool.connection_kwargs
    patience_s = settings.get("socket_timeout")
    try:
        return list(Worker.all(connection=redis))
    finally:
        # RQ raises the pool's timeout for each worker that it reads, to what a worker needs that waits for jobs.
        settings["socket_timeout"] = patience_s


class _Waiting(AbstractBackoff):
    """Growing pauses between attempts; logs once per wait that Redis does not answer."""

    def compute(self, failures: int) -> float:
        if failures == SILENT_ATTEMPTS:
            logger.warning("Redis does not answer, or stores nothing. Waiting for it")
        return float(min(0.1 * 2 ** min(failures, 10), LONGEST_PAUSE_S))


def wait_for_redis(redis: Redis) -> None:
    """Makes every command wait until Redis answers: for processes that can do nothing without Redis."""
    redis.set_retry(StorageRetry(_Waiting(), FOR_EVER))


def retry_for_a_while(redis: Redis) -> None:
    """Retries every command for about half a minute: for jobs, whose work would be lost with a Redis that restarts.

    redis-py retries nothing on a client that was made from a URL.
    """
    redis.set_retry(StorageRetry(_Waiting(), JOB_RETRIES))


def wait_no_longer(redis: Redis) -> None:
    """Undoes `wait_for_redis` in a process that stops: stopping must not wait for Redis."""
    redis.set_retry(Attempts(NoBackoff(), 1))


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turns `RedisError` into `QueueError`, whose message says that Redis does not answer, or why it stores nothing."""
    try:
        yield
    except (RedisReadOnlyError, ResponseError) as e:
        raise QueueError(f"Redis refuses ({e}). Look at its disk and its memory.") from e
    except RedisError as e:
        raise QueueError(f"Redis does not answer ({type(e).__name__}).") from e
