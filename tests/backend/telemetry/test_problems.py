"""Problems on a real Redis, also on one that hangs."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from backend.queues.queues import Queues
from backend.settings import Settings
from backend.telemetry import problems as module
from backend.telemetry.problems import COUNT_KEY, Problems

pytestmark = pytest.mark.services


def test_a_redis_that_hangs_is_waited_for_once_and_told_later(
    redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = Queues(Settings(redis_url=redis_address), answer_within_s=0.5).redis
    problems, pipeline = Problems(redis), redis.pipeline
    attempts: list[int] = []

    def counted() -> Any:
        attempts.append(1)
        return pipeline()

    monkeypatch.setattr(redis, "pipeline", counted)
    process = int(Redis.from_url(redis_address).info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    try:
        for number in range(20):
            problems.report(f"Image {number} cannot be read.")
        assert [problem.text for problem in problems.recent(2)] == [
            "Image 19 cannot be read.",
            "Image 18 cannot be read.",
        ]
    finally:
        os.kill(process, signal.SIGCONT)
    assert len(attempts) == 1
    monkeypatch.setattr(module, "RETRY_WAIT_S", 0.0)
    problems._tried_again_at = 0.0
    problems.report("And one more.")
    told = Problems(redis).recent(100)
    assert [problem.text for problem in told] == [
        "And one more.",
        *(f"Image {number} cannot be read." for number in reversed(range(20))),
    ]
    assert int(redis.get(COUNT_KEY) or 0) == 21


def test_each_problem_of_many_threads_is_stored_once(redis_address: str) -> None:
    redis = Redis.from_url(redis_address)
    problems, before = Problems(redis), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: problems.report(f"Image {number}"), range(800)))
    finally:
        sys.setswitchinterval(before)
    assert int(redis.get(COUNT_KEY) or 0) == 800
    assert len({problem.text for problem in problems.recent(100)}) == 100
