"""Queues on a real Redis."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.utils import now

from backend.errors import QueueError
from backend.queues.queues import CHECKS, HINT_LIFE_S, TRAIN, Keys, Queues
from backend.queues.redis_connection import workers_of
from backend.settings import Settings

pytestmark = pytest.mark.services


@pytest.fixture
def queues(redis_address: str) -> Queues:
    return Queues(Settings(redis_url=redis_address))


def waiting(queues: Queues, name: str) -> list[Job]:
    return Queue(name, connection=queues.redis).jobs


def test_plans_are_hints(queues: Queues) -> None:
    assert queues.enqueue_plan(5)
    assert not queues.enqueue_plan(5)
    queues.begin_plan(5)
    assert queues.enqueue_plan(5)
    assert [job.func_name for job in waiting(queues, CHECKS)] == ["backend.prelabel.jobs.plan"] * 2


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


def test_a_training_that_waits_long_keeps_its_place(queues: Queues) -> None:
    assert queues.enqueue_training(5, reason="first")
    (job,) = waiting(queues, TRAIN)
    job.enqueued_at = now() - timedelta(hours=3)
    job.save()
    assert not queues.enqueue_training(5, reason="second")


def test_events_make_one_count_and_none_is_lost(queues: Queues) -> None:
    assert [queues.enqueue_check(5) for _ in range(4)] == [True, False, False, False]
    assert queues.enqueue_check(6)
    assert len(waiting(queues, CHECKS)) == 2
    # As a count begins, what arrives is not in it, and brings another.
    queues.begin_check(5)
    assert queues.enqueue_check(5)
    assert not queues.enqueue_check(5)
    assert 0 < queues.redis.ttl(Keys.check_pending(5)) <= HINT_LIFE_S


def test_a_mark_is_never_set_without_its_job(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RedisConnectionError("The connection is lost.")

    with monkeypatch.context() as patched:
        patched.setattr(Queue, "push_job_id", fail)
        with pytest.raises(QueueError):
            queues.enqueue_plan(5)
    assert queues.enqueue_plan(5)
    assert len(waiting(queues, CHECKS)) == 1


def test_a_training_whose_worker_has_just_taken_it_is_not_queued_again(queues: Queues) -> None:
    assert queues.enqueue_training(7, reason="asked")
    queue = Queue(TRAIN, connection=queues.redis)
    assert Queue.dequeue_any([queue], None, queues.redis) is not None
    assert queue.job_ids == [] and queue.intermediate_queue.get_job_ids() == ["train-7"]
    assert not queues.enqueue_training(7, reason="asked again")


def test_a_project_that_trains_again_waits_for_those_who_asked_meanwhile(queues: Queues) -> None:
    queue = Queue(TRAIN, connection=queues.redis)
    for project in (1, 2, 3):
        assert queues.enqueue_training(project, reason="t")
    begun = Job.fetch("train-1", connection=queues.redis)
    queue.remove(begun)
    begun.set_status(JobStatus.STARTED)
    assert not queues.enqueue_training(1, reason="while it runs")
    begun.set_status(JobStatus.FINISHED)
    assert queues.enqueue_training(1, reason="again")
    assert queue.get_job_ids() == ["train-2", "train-3", "train-1"]


def test_a_training_whose_run_is_half_forgotten_is_queued_anew(queues: Queues) -> None:
    """RQ keeps the number of a run longer than what it knows of it."""
    assert queues.enqueue_training(7, reason="asked")
    (job,) = waiting(queues, TRAIN)
    Queue(TRAIN, connection=queues.redis).remove(job)
    job.set_status(JobStatus.FAILED)
    queues.redis.zadd(f"rq:executions:{job.id}", {"gone": 2**31, "half": 2**31})
    # What a sign of life leaves that comes when the job is over.
    queues.redis.hset(f"rq:execution:{job.id}:half", "last_heartbeat", 1.0)
    assert queues.enqueue_training(7, reason="asked again")
    assert len(waiting(queues, TRAIN)) == 1


def test_a_training_that_waits_again_after_its_worker_died_can_be_cancelled(queues: Queues) -> None:
    assert queues.enqueue_training(7, reason="asked")
    queues.redis.zadd("rq:executions:train-7", {"gone": 2**31})
    assert queues.cancel_training(7)
    assert not waiting(queues, TRAIN) and not queues.has_training(7)


def test_a_training_that_redis_lost_while_it_ran_is_queued_anew(queues: Queues) -> None:
    """Its progress, saved once more before its worker died, is a part of a record; RQ took it for the whole."""
    assert queues.enqueue_training(7, reason="asked")
    (job,) = waiting(queues, TRAIN)
    queues.redis.flushall()
    job.save_meta()
    assert not queues.has_training(7)
    assert queues.enqueue_training(7, reason="asked again")
    assert len(waiting(queues, TRAIN)) == 1 and queues.has_training(7)


def test_who_was_slow_to_see_that_a_training_has_ended_does_not_delete_the_next(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert queues.enqueue_training(7, reason="asked")
    (job,) = waiting(queues, TRAIN)
    Queue(TRAIN, connection=queues.redis).remove(job)
    job.set_status(JobStatus.FINISHED)
    delete = Job.delete

    def then_another_asks(self: Job, *args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(Job, "delete", delete)
        assert queues.enqueue_training(7, reason="another")
        delete(self, *args, **kwargs)

    monkeypatch.setattr(Job, "delete", then_another_asks)
    assert not queues.enqueue_training(7, reason="slow")
    (next_one,) = waiting(queues, TRAIN)
    assert next_one.args == (7, "another")


def test_asking_who_works_leaves_the_patience_with_redis_as_it_is(queues: Queues, redis_address: str) -> None:
    worker = SimpleWorker([TRAIN], connection=Redis.from_url(redis_address))
    worker.register_birth()
    settings = queues.redis.connection_pool.connection_kwargs
    before = settings["socket_timeout"]
    assert [one.name for one in workers_of(queues.redis)] == [worker.name]
    assert settings["socket_timeout"] == before


def test_a_training_has_the_time_that_its_project_gives_it(queues: Queues, redis_address: str, tmp_path: Path) -> None:
    path = tmp_path / "projects.yaml"
    path.write_text("projects: {7: {train_timeout_s: 60}}")
    own = Queues(Settings(redis_url=redis_address, project_settings=str(path), train_timeout_s=900))
    for project in (7, 8):
        own.enqueue_training(project, reason="t")
    assert {job.id: job.timeout for job in waiting(queues, TRAIN)} == {"train-7": 60, "train-8": 900}


def test_those_that_answer_do_not_try_for_minutes() -> None:
    """A Redis that says nothing would hold each of their threads, as redis-py has it: it connects a hundred times."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port, connected = silent.getsockname()[1], []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connected.append(silent.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        queues = Queues(Settings(redis_url=f"redis://127.0.0.1:{port}"), answer_within_s=0.2)
        with pytest.raises(QueueError, match="does not answer"):
            queues.enqueue_plan(3)
        silent.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    # Twice, and each time the connection itself is tried twice.
    assert len(connected) == 4
    for one in connected:
        one.close()
    queues.redis.close()
