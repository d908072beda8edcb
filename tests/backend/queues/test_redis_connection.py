"""How long Redis is waited for, by a real one that starts late."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from backend.errors import QueueError
from backend.queues.redis_connection import redis_errors, retry_for_a_while, wait_for_redis
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.supervisor import Supervisor, free_port

pytestmark = pytest.mark.services


@pytest.fixture
def own_redis_url(tmp_path: Path) -> Iterator[str]:
    """Address of a Redis of its own, which the test may spoil."""
    supervisor, port = Supervisor(tmp_path / "logs"), free_port()
    url = redis_url(port, "test")
    supervisor.start(redis_program(tmp_path / "redis", port=port, password="test"))
    try:
        supervisor.wait_until(lambda: redis_answers(url), what="Redis", timeout_s=30)
        yield url
    finally:
        supervisor.stop()


@pytest.fixture
def redis(own_redis_url: str) -> Iterator[Redis]:
    """A client of that Redis, which retries nothing."""
    with Redis.from_url(own_redis_url) as connection:
        yield connection


def fill_memory(redis: Redis) -> None:
    redis.config_set("maxmemory", 1)


def become_replica(redis: Redis) -> None:
    redis.execute_command("REPLICAOF", "127.0.0.1", 1)


def lose_replicas(redis: Redis) -> None:
    redis.config_set("min-replicas-to-write", 1)


def lose_disk(redis: Redis) -> None:
    """As a full disk does: what is to be saved cannot be, and from then on nothing is stored."""
    folder = Path(str(redis.config_get("dir")["dir"]))
    shutil.rmtree(folder)
    redis.config_set("save", "1 1")
    with suppress(ResponseError):
        redis.bgsave()
    while redis.info("persistence")["rdb_last_bgsave_status"] == "ok":
        time.sleep(0.05)


REFUSALS = [
    (fill_memory, lambda redis: redis.config_set("maxmemory", 0)),
    (become_replica, lambda redis: redis.execute_command("REPLICAOF", "NO", "ONE")),
    (lose_replicas, lambda redis: redis.config_set("min-replicas-to-write", 0)),
    (lose_disk, lambda redis: redis.config_set("stop-writes-on-bgsave-error", "no")),
]


@pytest.mark.parametrize(("spoil", "mend"), REFUSALS)
def test_a_worker_waits_for_a_redis_that_refuses_writes(
    own_redis_url: str, redis: Redis, spoil: Callable[[Redis], object], mend: Callable[[Redis], object]
) -> None:
    spoil(redis)
    with Redis.from_url(own_redis_url) as patient, ThreadPoolExecutor() as threads:
        wait_for_redis(patient)
        single = threads.submit(patient.set, "key", "value")
        several = threads.submit(patient.pipeline().set("other", "value").execute)
        with pytest.raises(TimeoutError):
            single.result(1)
        mend(redis)
        assert single.result(30) and several.result(30) == [True]


def test_a_refusal_says_what_to_look_at(redis: Redis) -> None:
    fill_memory(redis)
    with pytest.raises(QueueError, match=r"used memory > 'maxmemory'.*Look at its disk and its memory"), redis_errors():
        redis.set("key", "value")


def test_a_job_goes_on_with_a_redis_that_comes_back(tmp_path: Path) -> None:
    supervisor, port = Supervisor(tmp_path / "logs"), free_port()
    url = redis_url(port, "test")
    with Redis.from_url(url) as hasty, pytest.raises(RedisConnectionError):
        hasty.ping()
    with Redis.from_url(url) as patient, ThreadPoolExecutor() as threads:
        retry_for_a_while(patient)
        answer = threads.submit(patient.ping)
        supervisor.start(redis_program(tmp_path / "redis", port=port, password="test"))
        try:
            assert answer.result(60)
        finally:
            supervisor.stop()
