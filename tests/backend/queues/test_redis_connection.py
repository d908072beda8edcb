"""How long Redis is waited for, by a real one that starts late."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from backend.queues.redis_connection import retry_for_a_while
from launcher.stack.redis_server import redis_program, redis_url
from launcher.stack.supervisor import Supervisor, free_port

pytestmark = pytest.mark.services


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
