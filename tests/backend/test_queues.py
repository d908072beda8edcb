"""Queues on a real Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from rq import Queue
from rq.job import Job, JobStatus
from rq.utils import now

from backend.queues import CHECKS, HINT_LIFE_S, LOST_AFTER, PRELABEL, TRAIN, Keys, Queues
from backend.settings import Settings

pytestmark = pytest.mark.services


@pytest.fixture
def queues(redis_address: str) -> Queues:
    return Queues(Settings(redis_url=redis_address, prelabel_chunk=10))


def waiting(queues: Queues, name: str) -> list[Job]:
    return Queue(name, connection=queues.redis).jobs


def test_tasks_are_queued_in_chunks_and_the_same_event_once(queues: Queues) -> None:
    tasks = list(range(1, 26))
    assert queues.enqueue_prelabel(3, tasks) == 3
    assert queues.enqueue_prelabel(3, tasks) == 0
    assert [job.args for job in waiting(queues, PRELABEL)] == [(3, tasks[:10]), (3, tasks[10:20]), (3, tasks[20:])]
    # Other tasks, another model or another project are work of their own.
    assert queues.enqueue_prelabel(3, [99]) + queues.enqueue_prelabel(3, tasks[:10], version="v2") == 2
    assert queues.enqueue_prelabel(4, tasks[:10]) == 1
    assert queues.enqueue_prelabel(3, []) == 0


@pytest.mark.parametrize("ended", [JobStatus.FINISHED, JobStatus.FAILED])
def test_what_has_ended_may_be_queued_again(queues: Queues, ended: JobStatus) -> None:
    assert queues.enqueue_prelabel(3, [1])
    (job,) = waiting(queues, PRELABEL)
    Queue(PRELABEL, connection=queues.redis).empty()
    job.save()
    job.set_status(ended)
    assert queues.enqueue_prelabel(3, [1]) == 1


def test_a_project_has_one_training_at_a_time_however_many_ask(queues: Queues) -> None:
    for project in range(20):
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _, project=project: queues.enqueue_training(project, reason="t"), range(8)))
        assert sum(made) == 1
    # None of them has lost its place while others asked for it.
    assert sorted(job.id for job in waiting(queues, TRAIN)) == sorted(f"train-{project}" for project in range(20))
    job = waiting(queues, TRAIN)[5]
    job.set_status(JobStatus.STARTED)
    assert not queues.enqueue_training(int(job.id.removeprefix("train-")), reason="t")


def test_a_training_that_lost_its_place_in_the_queue_is_queued_anew(queues: Queues) -> None:
    assert queues.enqueue_training(5, reason="first")
    (job,) = waiting(queues, TRAIN)
    queues.redis.lrem(Queue(TRAIN, connection=queues.redis).key, 0, job.id)
    # A worker may have taken it this moment.
    assert not queues.enqueue_training(5, reason="second")
    job.enqueued_at = now() - 2 * LOST_AFTER
    job.save()
    assert queues.enqueue_training(5, reason="third")
    assert [job.args for job in waiting(queues, TRAIN)] == [(5, "third")]


def test_a_training_that_waits_long_keeps_its_place(queues: Queues) -> None:
    assert queues.enqueue_training(5, reason="first")
    (job,) = waiting(queues, TRAIN)
    job.enqueued_at = now() - timedelta(hours=3)
    job.save()
    assert not queues.enqueue_training(5, reason="second")


def test_many_events_make_one_count_and_none_is_lost(queues: Queues) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: queues.enqueue_check(5), range(16)))
    assert sum(made) == len(waiting(queues, CHECKS)) == 1
    assert queues.enqueue_check(6)
    # As a count begins, what arrives is not in it, and brings another.
    queues.begin_check(5)
    assert queues.enqueue_check(5)
    assert not queues.enqueue_check(5)
    assert 0 < queues.redis.ttl(Keys.check_pending(5)) <= HINT_LIFE_S
