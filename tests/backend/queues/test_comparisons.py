"""Jobs of comparisons on a real Redis: a student after the other, whatever becomes of the one before."""

from __future__ import annotations

import pytest
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus

from backend.errors import QueueError
from backend.queues.comparisons import Comparisons, is_comparison
from backend.queues.job_progress import snapshot
from backend.queues.queues import TRAIN, Queues
from backend.settings import Settings

pytestmark = pytest.mark.services

STUDENTS = ("one", "two", "three")


@pytest.fixture
def queues(redis_address: str) -> Queues:
    return Queues(Settings(redis_url=redis_address))


def enqueue(comparisons: Comparisons) -> None:
    comparisons.enqueue(STUDENTS, {"epochs": 1}, timeout_s=60)


def test_each_student_waits_for_the_one_before_which_may_fail(queues: Queues) -> None:
    comparisons, queue = Comparisons(queues.redis, 7), Queue(TRAIN, connection=queues.redis)
    assert comparisons.state(STUDENTS) == []
    enqueue(comparisons)
    assert queue.job_ids == ["compare-7-one"]
    (job,) = queue.jobs
    assert job.args == (7, "one", list(STUDENTS), {"epochs": 1})
    assert all(one.is_open and not one.is_running and not one.reason for one in comparisons.state(STUDENTS))
    # Asked again, none waits twice.
    enqueue(comparisons)
    assert queue.job_ids == ["compare-7-one"]

    # There is no such module for this worker to fail in: each job fails, and the next begins all the same.
    job.func_name = "nowhere.work"
    for name in STUDENTS:
        one = Job.fetch(f"compare-7-{name}", connection=queues.redis)
        one.func_name, one.retries_left = "nowhere.work", 0
        one.save()
    SimpleWorker([queue], connection=queues.redis).work(burst=True)
    states = comparisons.state(STUDENTS)
    assert [one.student for one in states] == list(STUDENTS)
    assert not any(one.is_open for one in states) and all("nowhere" in one.reason for one in states)
    # Failed ones may be asked for anew.
    enqueue(comparisons)
    assert [one.is_open for one in comparisons.state(STUDENTS)] == [True] * 3


def test_waiting_students_are_cancelled_and_another_project_is_left_alone(queues: Queues) -> None:
    comparisons, other = Comparisons(queues.redis, 7), Comparisons(queues.redis, 70)
    enqueue(comparisons)
    enqueue(other)
    assert sorted(comparisons.cancel()) == sorted(STUDENTS)
    assert comparisons.cancel() == []
    assert comparisons.state(STUDENTS) == [] and len(other.state(STUDENTS)) == 3
    assert Queue(TRAIN, connection=queues.redis).job_ids == ["compare-70-one"]


def test_a_project_has_one_comparison_at_a_time(queues: Queues) -> None:
    comparisons = Comparisons(queues.redis, 7)
    enqueue(comparisons)
    for students, options in ((STUDENTS, {"epochs": 2}), (STUDENTS[:2], {"epochs": 1}), (("four",), {"epochs": 1})):
        with pytest.raises(QueueError, match=r"Another comparison of project 7 .*one, two, three.*--cancel"):
            comparisons.enqueue(students, options, timeout_s=60)
    assert [job.args[3] for job in Queue(TRAIN, connection=queues.redis).jobs] == [{"epochs": 1}]
    comparisons.cancel()
    comparisons.enqueue(("four",), {"epochs": 2}, timeout_s=60)
    assert Queue(TRAIN, connection=queues.redis).job_ids == ["compare-7-four"]


def test_a_comparison_is_no_training(queues: Queues) -> None:
    comparisons = Comparisons(queues.redis, 7)
    comparisons.enqueue(["one"], {}, timeout_s=60)
    assert not queues.has_training(7) and not queues.cancel_training(7)
    (job,) = Queue(TRAIN, connection=queues.redis).jobs
    assert is_comparison(job.id) and not is_comparison("train-7")
    job.set_status(JobStatus.FINISHED)
    Queue(TRAIN, connection=queues.redis).finished_job_registry.add(job, 60)
    assert snapshot(queues.redis)["last_training"] == []
