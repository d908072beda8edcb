"""The timer on a real Redis."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from redis import Redis
from rq import Queue

from backend.queues import CHECKS
from benchmarks.proxy import Proxy
from launcher.process import free_port
from launcher.redis_server import redis_url
from tests.conftest import ROOT

pytestmark = pytest.mark.services
TIMER = (
    "import sys; from redis import Redis; from backend.upkeep import timer;"
    "timer(Redis.from_url(sys.argv[1]), every_s=1).start()"
)


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("away_in_the_end", [False, True])
def test_the_timer_waits_for_a_redis_that_is_away(redis_address: str, *, away_in_the_end: bool) -> None:
    """RQ's own ends then, and nobody looks after anything any more."""
    port = free_port()
    with Redis.from_url(redis_address) as connection, Proxy(port, to=port_of(redis_address)) as proxy:
        queue = Queue(CHECKS, connection=connection)
        timer = subprocess.Popen([sys.executable, "-c", TIMER, redis_url(port, "test")], cwd=ROOT)
        try:
            wait_for(lambda: len(queue) >= 2)
            proxy.refuses = True
            proxy.drop()
            # redis-py alone gives up after some seconds.
            time.sleep(9)
            queue.empty()
            proxy.heal()
            wait_for(lambda: len(queue) >= 2)
            # Who ends it does not wait for Redis: that may be ended at the same time.
            if away_in_the_end:
                proxy.refuses = True
                proxy.drop()
                time.sleep(2)
            timer.send_signal(signal.SIGTERM)
            assert timer.wait(20) == 0
        finally:
            timer.kill()
            timer.wait()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2].partition("/")[0])
