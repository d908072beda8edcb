"""The timer on a real Redis."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue

from backend.queues.queues import CHECKS
from backend.timer import look_after
from benchmarks.faults.proxy import Proxy
from launcher.stack.redis_server import redis_url
from launcher.stack.supervisor import free_port
from tests.conftest import ROOT
from tests.support import wait_for

pytestmark = pytest.mark.services
TIMER = (
    "import sys; from redis import Redis; from backend.timer import timer;"
    "timer(Redis.from_url(sys.argv[1]), every_s=1).start()"
)


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


def test_a_look_that_label_studio_stays_away_from_is_left_to_the_next(
    redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no failed job, of which a night without Label Studio would leave hundreds."""
    url = f"http://127.0.0.1:{free_port()}"
    given = {
        "LABEL_STUDIO_URL": url,
        "LABEL_STUDIO_API_KEY": "0" * 40,
        "REDIS_URL": redis_address,
        "DATA_DIR": str(tmp_path),
        "CHECK_EVERY_S": "10",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert look_after() == {"projects": 0}
    assert f"Label Studio does not answer at {url}" in caplog.text and "next look is due within 10 s" in caplog.text


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2].partition("/")[0])
