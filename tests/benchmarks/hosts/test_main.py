from __future__ import annotations

import pytest
from redis import Redis
from rq import Queue

from backend.queues.queues import PRELABEL
from benchmarks.hosts.__main__ import orphaned_jobs


@pytest.mark.services
def test_jobs_that_nobody_has_are_seen(redis_address: str) -> None:
    with Redis.from_url(redis_address) as redis:
        queue = Queue(PRELABEL, connection=redis)
        queue.enqueue("backend.prelabel.jobs.plan", 1)
        assert list(orphaned_jobs(redis)) == []
        # As a worker of several queues would take it.
        redis.lpop(queue.key)
        (sentence,) = orphaned_jobs(redis)
        assert "1 jobs are open and nobody has them" in sentence and "backend.prelabel.jobs.plan" in sentence
