"""Backlogs on a real Redis: each task is in one job, projects take turns, and a chain of jobs does not break."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.utils import now

from backend.queues.backlog import NAMES_KEY, Backlog, Work, waiting_tasks
from backend.queues.queues import PRELABEL, Queues
from backend.settings import Settings

pytestmark = pytest.mark.services
CHUNK = 10
# Which project's job took which tasks, in the order in which they ran.
ran: list[tuple[int, list[int]]] = []


@pytest.fixture
def redis(redis_address: str) -> Redis:
    ran.clear()
    return Redis.from_url(redis_address)


def backlog_of(redis: Redis, project: int) -> Backlog:
    return Backlog(redis, Work(PRELABEL, f"{__name__}.run", (project,), CHUNK, 60))


def run(project: int, task_ids: list[int]) -> None:
    """A job as jobs of backlogs are: it queues the next, and then works."""
    from rq import get_current_job

    job = get_current_job()
    assert job is not None
    backlog = backlog_of(job.connection, project)
    backlog.queue_next()
    ran.append((project, task_ids))
    if 666 in task_ids:
        raise ValueError("This task cannot be done.")
    backlog.count(done=len(task_ids), failed=0)


def work(redis: Redis, *, max_jobs: int | None = None) -> None:
    SimpleWorker([PRELABEL], connection=redis).work(burst=True, max_jobs=max_jobs)


def queued(redis: Redis) -> list[Job]:
    return Queue(PRELABEL, connection=redis).jobs


def test_each_task_is_in_one_job_however_often_it_is_added(redis: Redis) -> None:
    backlog = backlog_of(redis, 1)
    backlog.add(range(25))
    for again in (range(25), [3, 4], [24, 25, 26, 26]):
        backlog.add(again)
    (job,) = queued(redis)
    assert job.args == (1, list(range(10)))
    assert waiting_tasks(redis, "run") == {"1": 17}
    work(redis)
    assert [task_id for _, task_ids in ran for task_id in task_ids] == list(range(27))
    assert waiting_tasks(redis, "run") == {} and not redis.smembers(NAMES_KEY)


def test_tasks_of_a_job_that_runs_are_left_to_it(redis: Redis) -> None:
    backlog = backlog_of(redis, 1)
    backlog.add([1, 2])
    assert Queue.dequeue_any([Queue(PRELABEL, connection=redis)], None, redis) is not None
    backlog.add([2])
    assert queued(redis) == [] and waiting_tasks(redis, "run") == {}


def test_added_by_many_at_once_no_task_is_in_two_jobs(redis: Redis) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda first: backlog_of(redis, 1).add(range(first, first + 30)), range(0, 60, 5)))
    assert len(queued(redis)) == 1
    work(redis)
    assert sorted(task_id for _, task_ids in ran for task_id in task_ids) == list(range(85))


def test_projects_take_turns(redis: Redis) -> None:
    backlog_of(redis, 1).add(range(40_000))
    backlog_of(redis, 2).add(range(15))
    work(redis, max_jobs=6)
    assert [project for project, _ in ran] == [1, 2, 1, 2, 1, 1]
    # A small import does not wait for a large one, whenever it comes.
    backlog_of(redis, 3).add(range(5))
    work(redis, max_jobs=2)
    assert [project for project, _ in ran[6:]] == [1, 3]
    assert waiting_tasks(redis, "run") == {"1": 40_000 - 6 * CHUNK}


@pytest.mark.slow
def test_it_takes_more_tasks_than_redis_takes_in_a_command(redis: Redis) -> None:
    backlog_of(redis, 1).add(range(600_000))
    assert backlog_of(redis, 1).progress(since=now()).left == 600_000


def test_two_workers_share_a_backlog(redis: Redis) -> None:
    backlog_of(redis, 1).add(range(30))
    queue = Queue(PRELABEL, connection=redis)
    first = Queue.dequeue_any([queue], None, redis)
    assert first is not None and queued(redis) == []
    first[0].set_status(JobStatus.STARTED)
    # As the first job does when it begins: the next waits for another worker.
    backlog_of(redis, 1).queue_next()
    backlog_of(redis, 1).queue_next()
    (second,) = queued(redis)
    assert second.args == (1, list(range(10, 20)))


@pytest.mark.parametrize("lost", ["deleted", "failed"])
def test_a_job_that_is_gone_does_not_break_the_chain(redis: Redis, lost: str) -> None:
    backlog = backlog_of(redis, 1)
    backlog.add(range(20))
    (job,) = queued(redis)
    if lost == "deleted":
        job.delete()
    else:
        Queue(PRELABEL, connection=redis).remove(job)
        job.set_status(JobStatus.FAILED)
    backlog.add([3])
    work(redis)
    assert [task_ids for _, task_ids in ran] == [[3, *range(10, 19)], [19]]


def test_progress_and_why_jobs_failed(redis: Redis) -> None:
    backlog = backlog_of(redis, 1)
    begun_at = now()
    backlog.begin_counts()
    backlog.add([*range(15), 666])
    assert backlog.progress(since=begun_at).left == 16
    work(redis)
    progress = backlog.progress(since=begun_at)
    assert (progress.ended, progress.left, progress.done, progress.failed) == (True, 0, 10, 0)
    assert progress.reasons == ("ValueError: This task cannot be done.",)
    assert backlog.progress(since=now() + timedelta(seconds=1)).reasons == ()


def test_who_waits_for_the_end_sees_it_though_a_job_failed_before_it_queued_the_next(redis: Redis) -> None:
    backlog = backlog_of(redis, 1)
    backlog.add(range(15))
    (job,) = queued(redis)
    Queue(PRELABEL, connection=redis).remove(job)
    job.set_status(JobStatus.FAILED)
    assert backlog.progress(since=now()).left == 5
    work(redis)
    assert ran == [(1, list(range(10, 15)))]
    assert backlog.progress(since=now()).left == 0


def test_work_has_not_ended_before_its_last_job_has_counted(redis: Redis) -> None:
    """The bar's last line would say that nothing was done."""
    backlog = backlog_of(redis, 1)
    backlog.add([1, 2])
    (job,) = queued(redis)
    job.meta["done"] = 2
    job.save_meta()
    progress = backlog.progress(since=now())
    assert (progress.ended, progress.left, progress.done) == (False, 0, 0)
    work(redis)
    progress = backlog.progress(since=now())
    assert (progress.ended, progress.left, progress.done) == (True, 0, 2)


def test_a_backlog_that_is_dropped_is_gone(redis: Redis) -> None:
    backlog = backlog_of(redis, 1)
    backlog.add(range(25))
    backlog.drop()
    work(redis)
    assert [task_ids for _, task_ids in ran] == [list(range(10))]


def test_versions_and_askers_have_backlogs_of_their_own(redis: Redis, redis_address: str) -> None:
    queues = Queues(Settings(redis_url=redis_address, prelabel_chunk=CHUNK))
    queues.prelabelling(3, version="v1").add([1])
    queues.prelabelling(3, version="v2").add([1])
    queues.prelabelling(3, version="v1", asked=True).add([1])
    queues.encoding(3).add([1])
    assert [(str(job.func_name).rpartition(".")[2], job.args, job.kwargs) for job in queued(redis)] == [
        ("prelabel", (3, "v1", [1]), {"asked": False}),
        ("prelabel", (3, "v2", [1]), {"asked": False}),
        ("prelabel", (3, "v1", [1]), {"asked": True}),
        ("embed", (3, [1]), {}),
    ]
