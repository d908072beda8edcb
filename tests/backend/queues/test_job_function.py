"""What jobs do at their start, with a real RQ worker."""

from __future__ import annotations

import pytest
from redis import Redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Job
from rq.results import Result

from backend.queues.job_function import job_function
from backend.queues.queues import TRAIN, Jobs, Queues
from backend.settings import Settings

pytestmark = pytest.mark.services
ran: list[int] = []


@job_function
def train(project_id: int, reason: str) -> int:
    ran.append(project_id)
    return project_id


def work(redis: Redis) -> None:
    SimpleWorker([TRAIN], connection=redis).work(burst=True)


def test_a_job_that_succeeded_is_not_run_again_and_a_later_one_of_its_id_is(
    redis_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Jobs, "TRAIN", f"{__name__}.train")
    ran.clear()
    queues = Queues(Settings(redis_url=redis_address))
    queue = Queue(TRAIN, connection=queues.redis)
    assert queues.enqueue_training(7, reason="first")
    work(queues.redis)
    assert ran == [7]
    # RQ lost the connection as it recorded the success, and takes the job for lost.
    job = Job.fetch("train-7", connection=queues.redis)
    job.retries_left = Retry(max=3).max
    with queues.redis.pipeline() as pipeline:
        job.retry(queue, pipeline)
        pipeline.execute()
    work(queues.redis)
    assert ran == [7]
    assert queues.enqueue_training(7, reason="second")
    work(queues.redis)
    assert ran == [7, 7]
    # The job's record has expired, and its results not yet.
    job = Job.fetch("train-7", connection=queues.redis)
    queues.redis.delete(job.key)
    assert Result.fetch_latest(job) is not None
    assert queues.enqueue_training(7, reason="third")
    work(queues.redis)
    assert ran == [7, 7, 7]
