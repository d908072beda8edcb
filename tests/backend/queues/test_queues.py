"""Queues on a real Redis."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.utils import now

from backend.errors import QueueError
from backend.queues.job_claims import ClaimedQueue, begun
from backend.queues.job_records import LOST_AFTER
from backend.queues.queues import CHECKS, HINT_GRACE_S, HINT_LIFE_S, PRELABEL, TRAIN, Keys, Queues
from backend.queues.redis_connection import workers_of
from backend.settings import Settings

pytestmark = pytest.mark.services


@pytest.fixture
def queues(redis_address: str) -> Queues:
    return Queues(Settings(redis_url=redis_address, prelabel_chunk=10))


def waiting(queues: Queues, name: str) -> list[Job]:
    return Queue(name, connection=queues.redis).jobs


def test_tasks_are_shared_out_once_however_often_they_are_asked_for(queues: Queues) -> None:
    tasks = list(range(1, 26))
    jobs = queues.enqueue_prelabel(3, tasks, version="v1")
    assert len(jobs) == 3
    assert [job.args[2] for job in waiting(queues, PRELABEL)] == [tasks[:10], tasks[10:20], tasks[20:]]
    # The same again, a part of it, and a part with others: what is held by open jobs stays with them.
    assert sorted(queues.enqueue_prelabel(3, tasks, version="v1")) == sorted(jobs)
    assert queues.enqueue_prelabel(3, tasks[3:5], version="v1") == jobs[:1]
    more = queues.enqueue_prelabel(3, [25, 26, 26, 27], version="v1")
    assert [job.args[2] for job in waiting(queues, PRELABEL)][3:] == [[26, 27]]
    assert len(more) == 2 and jobs[2] in more
    # Another model or another project are work of their own.
    queues.enqueue_prelabel(3, tasks[:10], version="v2")
    queues.enqueue_prelabel(4, tasks[:10], version="v1")
    # The other project's has its turn after the first.
    wanted = [(3, "v1"), (4, "v1"), (3, "v1"), (3, "v1"), (3, "v1"), (3, "v2")]
    assert [job.args[:2] for job in waiting(queues, PRELABEL)] == wanted
    assert queues.enqueue_prelabel(3, [], version="v1") == []


def test_tasks_of_a_running_job_are_left_to_it(queues: Queues) -> None:
    queue = Queue(PRELABEL, connection=queues.redis)
    (job_id,) = queues.enqueue_prelabel(3, [1, 2], version="v1")
    worker = SimpleWorker([queue], connection=queues.redis)
    worker.register_birth()
    result = worker.dequeue_job_and_maintain_ttl(None)
    assert result is not None
    worker.prepare_execution(result[0])
    assert len(queue) == 0
    assert queues.enqueue_prelabel(3, [2], version="v1") == [job_id]
    assert len(queue) == 0


@pytest.mark.parametrize("ended", [JobStatus.FINISHED, JobStatus.FAILED])
def test_what_has_ended_may_be_queued_again(queues: Queues, ended: JobStatus) -> None:
    queues.enqueue_prelabel(3, [1], version="v1")
    (job,) = waiting(queues, PRELABEL)
    Queue(PRELABEL, connection=queues.redis).empty()
    job.save()
    job.set_status(ended)
    assert len(queues.enqueue_prelabel(3, [1], version="v1")) == 1
    assert len(waiting(queues, PRELABEL)) == 1


def test_shared_out_by_several_at_once_no_task_is_in_two_jobs(queues: Queues) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda first: queues.enqueue_prelabel(3, range(first, first + 30), version="v"), range(0, 60, 5)))
    tasks = [task for job in waiting(queues, PRELABEL) for task in job.args[2]]
    assert sorted(tasks) == list(range(85))


def test_one_import_is_shared_out_once(queues: Queues) -> None:
    assert queues.enqueue_imported(3, [1, 2])
    assert not queues.enqueue_imported(3, [1, 2])
    (job,) = waiting(queues, CHECKS)
    Queue(CHECKS, connection=queues.redis).empty()
    job.save()
    job.set_status(JobStatus.FINISHED)
    # The event comes a second time when its work is done.
    assert not queues.enqueue_imported(3, [1, 2])
    assert queues.enqueue_imported(3, [1, 2, 3])


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
    assert 0 < queues.redis.ttl(Keys.check_pending(5, all_of_it=False)) <= HINT_LIFE_S


def test_a_hint_whose_job_was_never_queued_swallows_nothing(queues: Queues) -> None:
    mark = Keys.plan_pending(5)
    # Its sender died, or lost Redis, between the two steps: just now, and a while ago.
    queues.redis.set(mark, "gone", ex=HINT_LIFE_S)
    assert not queues.enqueue_plan(5)
    queues.redis.expire(mark, HINT_LIFE_S - HINT_GRACE_S - 1)
    assert queues.enqueue_plan(5)
    queues.redis.expire(mark, HINT_LIFE_S - HINT_GRACE_S - 1)
    # Its job waits: that is no lost one.
    assert not queues.enqueue_plan(5)
    assert len(waiting(queues, CHECKS)) == 1


def test_a_hint_whose_mark_was_set_without_an_answer_is_queued_when_it_is_tried_again(queues: Queues) -> None:
    queues.redis.set(Keys.check_pending(7, all_of_it=False), "mine", ex=HINT_LIFE_S)
    assert not queues.enqueue_check(7, job_id="another's")
    assert queues.enqueue_check(7, job_id="mine")
    assert [job.id for job in waiting(queues, CHECKS)] == ["mine"]
    assert not queues.enqueue_check(7, job_id="mine")
    # Its job has begun, and the answer is still not there: what came since is not in it.
    queues.begin_check(7)
    Job.fetch("mine", connection=queues.redis).set_status(JobStatus.STARTED)
    assert queues.enqueue_check(7, job_id="mine")
    first, second = waiting(queues, CHECKS)
    assert first.id == "mine" != second.id
    assert not queues.enqueue_check(7)


def test_a_training_whose_worker_has_just_begun_it_is_not_queued_again(queues: Queues) -> None:
    assert queues.enqueue_training(7, reason="asked")
    (job,) = waiting(queues, TRAIN)
    job.enqueued_at = now() - LOST_AFTER - timedelta(seconds=1)
    job.save()
    queue = ClaimedQueue(TRAIN, connection=queues.redis)
    queue.worker = "a"
    assert ClaimedQueue.dequeue_any([queue], None, queues.redis) is not None
    assert not queues.enqueue_training(7, reason="asked again")
    execution = Execution.create(job, ttl=60, pipeline=queues.redis.pipeline())
    queues.redis.zadd(queue.started_job_registry.key, {execution.composite_key: 2**31})
    begun([queue], job.id, worker="a")
    assert job.get_status() == JobStatus.QUEUED and queue.job_ids == []
    assert not queues.enqueue_training(7, reason="asked again")


def test_a_training_whose_run_is_half_forgotten_is_queued_anew(queues: Queues) -> None:
    """RQ keeps the number of a run longer than what it knows of it."""
    assert queues.enqueue_training(7, reason="asked")
    (job,) = waiting(queues, TRAIN)
    Queue(TRAIN, connection=queues.redis).remove(job)
    job.set_status(JobStatus.FAILED)
    queues.redis.zadd(f"rq:executions:{job.id}", {"gone": 2**31})
    assert queues.enqueue_training(7, reason="asked again")
    assert len(waiting(queues, TRAIN)) == 1


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
