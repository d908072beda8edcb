from __future__ import annotations

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.job import JobStatus

from backend.queues.job_progress import MAX_FAILED, snapshot
from backend.queues.queues import CHECKS, PRELABEL, Jobs

pytestmark = pytest.mark.services


def test_of_failed_jobs_only_the_newest_are_read_and_all_are_counted(redis_address: str) -> None:
    with Redis.from_url(redis_address) as redis:
        queue = Queue(PRELABEL, connection=redis)
        jobs = [queue.create_job(Jobs.PRELABEL, args=(number, "v", [1])) for number in range(MAX_FAILED + 10)]
        for number, job in enumerate(jobs):
            job.save()
            queue.failed_job_registry.add(job, ttl=1000 + number, exc_string="ValueError: no")
        state = snapshot(redis)
    assert [job["project"] for job in state["failed"]] == list(range(MAX_FAILED + 9, 9, -1))
    assert (state["failed_jobs"][PRELABEL], state["failed_jobs"][CHECKS]) == (MAX_FAILED + 10, 0)


def test_looking_changes_nothing(redis_address: str) -> None:
    """A worker puts lost jobs back; the page that did so at the same moment would queue them twice."""
    with Redis.from_url(redis_address) as redis:
        queue = Queue(PRELABEL, connection=redis)
        job = queue.create_job(Jobs.PRELABEL, args=(1, "v", [1]), retry=Retry(max=3), status=JobStatus.STARTED)
        job.save()
        redis.zadd(queue.started_job_registry.key, {f"{job.id}:lost": 1.0})
        assert [one["id"] for one in snapshot(redis)["running"]] == [job.id]
        assert queue.job_ids == []
