"""Jobs between their queue and their worker, on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.job import Job, JobStatus

from backend.queues.job_claims import ClaimedQueue, begun, claimed_ids, claims, holds, put_back, take
from backend.queues.job_records import open_jobs

pytestmark = pytest.mark.services


@pytest.fixture
def connection(redis_address: str) -> Iterator[Redis]:
    with Redis.from_url(redis_address) as opened:
        yield opened


@pytest.fixture
def queues(connection: Redis) -> list[Queue]:
    return [Queue(name, connection=connection) for name in ("first", "second")]


def job_on(queue: Queue, number: int = 0) -> Job:
    return queue.enqueue("tests.nothing", job_id=f"{queue.name}-{number}")


def test_the_first_queue_comes_first(connection: Redis, queues: list[Queue]) -> None:
    first, second = queues
    assert take(connection, queues, worker="a") is None
    for job in (job_on(second), job_on(first, 1), job_on(first, 2)):
        assert job.get_status() == "queued"
    assert take(connection, queues, worker="a") == (first, "first-1")
    assert take(connection, queues, worker="b") == (first, "first-2")
    assert take(connection, queues, worker="c") == (second, "second-0")
    assert claimed_ids(first) == ["first-1", "first-2"] and claimed_ids(second) == ["second-0"]


def test_a_worker_that_asks_again_gets_the_same(connection: Redis, queues: list[Queue]) -> None:
    """As after an answer that did not reach it: a second job would take the first one's place in the notes."""
    first, second = queues
    job_on(second)
    assert take(connection, queues, worker="a") == (second, "second-0")
    job_on(first)
    assert take(connection, queues, worker="a") == (second, "second-0")
    begun(queues, "second-0", worker="a")
    assert take(connection, queues, worker="a") == (first, "first-0")


def test_what_the_dead_had_taken_goes_back_to_the_head_once(connection: Redis, queues: list[Queue]) -> None:
    first, _ = queues
    for number in range(3):
        job_on(first, number)
    take(connection, queues, worker="dead")
    take(connection, queues, worker="alive")
    assert claims(first) == {"dead": "first-0", "alive": "first-1"}
    assert put_back(first, "first-0", worker="dead")
    assert not put_back(first, "first-0", worker="dead")
    assert first.job_ids == ["first-0", "first-2"] and claimed_ids(first) == ["first-1"]


def test_what_is_over_or_gone_is_not_put_back(connection: Redis, queues: list[Queue]) -> None:
    first, _ = queues
    finished, gone, there = (job_on(first, number) for number in range(3))
    for worker in ("a", "b"):
        take(connection, queues, worker=worker)
    finished.set_status(JobStatus.FINISHED)
    gone.delete(remove_from_queue=False)
    assert not put_back(first, finished.id, worker="a") and not put_back(first, gone.id, worker="b")
    assert first.job_ids == [there.id] and claimed_ids(first) == []


def test_one_that_waits_again_already_is_not_there_twice(connection: Redis, queues: list[Queue]) -> None:
    first, _ = queues
    job = job_on(first)
    take(connection, queues, worker="dead")
    first.enqueue_job(job)
    assert not put_back(first, job.id, worker="dead")
    assert first.job_ids == [job.id]


def test_one_that_another_has_taken_under_the_same_id_is_left_to_it(connection: Redis, queues: list[Queue]) -> None:
    first, _ = queues
    job = job_on(first)
    take(connection, queues, worker="dead")
    job.delete()
    again = job_on(first)
    take(connection, queues, worker="alive")
    assert not put_back(first, again.id, worker="dead")
    assert first.job_ids == [] and claims(first) == {"alive": again.id}


def test_who_holds_a_job_is_told_until_it_is_taken_back_or_gone(connection: Redis, queues: list[Queue]) -> None:
    first, _ = queues
    job = job_on(first)
    take(connection, queues, worker="a")
    assert holds(first, job.id, worker="a") and not holds(first, job.id, worker="b")
    put_back(first, job.id, worker="a")
    assert not holds(first, job.id, worker="a")
    take(connection, queues, worker="b")
    job.delete()
    assert not holds(first, job.id, worker="b")


def test_one_whose_record_cannot_be_read_stops_nobody_for_good(connection: Redis) -> None:
    queue = ClaimedQueue("first", connection=connection)
    queue.worker = "a"
    strange, plain = job_on(queue, 0), job_on(queue, 1)
    connection.hset(strange.key, "status", "of a later release")
    with pytest.raises(ValueError):
        ClaimedQueue.dequeue_any([queue], None, connection)
    taken = ClaimedQueue.dequeue_any([queue], None, connection)
    assert taken is not None and taken[0].id == plain.id
    assert claimed_ids(queue) == [plain.id]


def test_a_job_on_its_way_is_an_open_one(connection: Redis, queues: list[Queue]) -> None:
    first, _ = queues
    jobs = [job_on(first, number) for number in range(2)]
    take(connection, queues, worker="a")
    assert sorted(one.id for one in open_jobs(first)) == [one.id for one in jobs]


def test_a_worker_waits_no_longer_than_it_is_told_to(connection: Redis) -> None:
    queue = ClaimedQueue("first", connection=connection)
    queue.worker = "a"
    assert ClaimedQueue.dequeue_any([queue], None, connection) is None
    with pytest.raises(DequeueTimeout):
        ClaimedQueue.dequeue_any([queue], 1, connection)


def test_the_record_of_a_job_may_be_gone_when_its_turn_comes(connection: Redis) -> None:
    queue = ClaimedQueue("first", connection=connection)
    queue.worker = "a"
    gone, there = job_on(queue, 0), job_on(queue, 1)
    gone.delete(remove_from_queue=False)
    taken = ClaimedQueue.dequeue_any([queue], None, connection)
    assert taken is not None and taken[0].id == there.id and taken[1] is queue
    assert claimed_ids(queue) == [there.id]
