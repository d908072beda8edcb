"""Projects take turns, on a real Redis with a real worker."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from backend.queues.fair_turns import project_of, take_turns
from backend.queues.queues import CLUSTERS, EMBED, PRELABEL, TRAIN, Queues
from backend.settings import Settings

pytestmark = pytest.mark.services
ROOT = Path(__file__).parent.parent.parent.parent
WORK = (
    "import sys; from redis import Redis; from backend.queues.worker import ResidentWorker;"
    "ResidentWorker(['prelabel'], connection=Redis.from_url(sys.argv[1])).work()"
)
# What waits → in which order it is taken.
ORDERS = [
    ([], []),
    (["p-1-a"], ["p-1-a"]),
    (["p-1-a", "p-1-b", "p-1-c"], ["p-1-a", "p-1-b", "p-1-c"]),
    (["p-1-a", "p-1-b", "p-1-c", "p-2-a"], ["p-1-a", "p-2-a", "p-1-b", "p-1-c"]),
    (["p-1-a", "p-1-b", "p-2-a", "p-2-b", "p-3-a"], ["p-1-a", "p-2-a", "p-3-a", "p-1-b", "p-2-b"]),
    # Numbers of which one begins like the other; a job put back at the head stays there.
    (["p-12-z", "p-1-a", "p-12-a", "p-1-b"], ["p-12-z", "p-1-a", "p-12-a", "p-1-b"]),
    # Ids that name no project are one of their own.
    (["5f0c", "77aa", "p-1-a"], ["5f0c", "p-1-a", "77aa"]),
]


@pytest.fixture
def queues(redis_address: str) -> Queues:
    return Queues(Settings(redis_url=redis_address))


@pytest.mark.parametrize(("waiting", "wanted"), ORDERS)
def test_projects_alternate_and_each_ones_jobs_stay_in_order(
    queues: Queues, waiting: list[str], wanted: list[str]
) -> None:
    queue = Queue(PRELABEL, connection=queues.redis)
    if waiting:
        queues.redis.rpush(queue.key, *waiting)
    for _ in range(2):
        take_turns(queue)
        assert queue.get_job_ids() == wanted
    # The script and `project_of` read ids alike.
    assert [project_of(one) for one in ("p-12-z", "5f0c", "train-7")] == ["12", "", "7"]


def test_many_who_queue_at_once_lose_nothing(queues: Queues) -> None:
    def ask(number: int) -> list[str]:
        project, first = number % 4, number // 4 * 100
        return queues.enqueue_prelabel(project, range(first, first + 100), version="v")

    with ThreadPoolExecutor(8) as pool:
        made = [job_id for jobs in pool.map(ask, range(32)) for job_id in jobs]
    assert len(made) == 64
    waiting = Queue(PRELABEL, connection=queues.redis).get_job_ids()
    assert sorted(waiting) == sorted(made)
    # Four projects with as many jobs: in each four every one has its turn.
    assert {len({project_of(one) for one in waiting[at : at + 4]}) for at in range(0, 64, 4)} == {4}


def test_encoding_and_groups_take_turns_too(queues: Queues) -> None:
    queues.enqueue_embed(1, range(300))
    queues.enqueue_embed(2, range(10))
    for project in (1, 1, 1, 2):
        queues.enqueue_clusters(project, "v", {1: 1})
    embed, clusters = (Queue(name, connection=queues.redis).get_job_ids() for name in (EMBED, CLUSTERS))
    assert [project_of(one) for one in embed] == ["1", "2", "1", "1", "1", "1"]
    assert [project_of(one) for one in clusters] == ["1", "2", "1", "1"]


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


@pytest.fixture
def worker(redis_address: str) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts a worker; it is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", WORK, redis_address], cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_small_import_does_not_wait_for_a_large_one(
    queues: Queues,
    worker: Callable[[], subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    redis_address: str,
    tmp_path: Path,
) -> None:
    """40,000 tasks of one project wait; no project has a model, so that each job ends by itself, without a prediction.

    The first small import comes before the worker, the second while it is at it; one worker ends jobs in the order in
    which it takes them. It stands still for the moment in which the second is queued, so that the count is exact.
    """
    monkeypatch.setenv("REDIS_URL", redis_address)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    large = queues.enqueue_prelabel(1, range(40_000), version="")
    assert len(large) == 625
    first = queues.enqueue_prelabel(2, range(50), version="")
    queue = Queue(PRELABEL, connection=queues.redis)
    assert queue.get_job_position(first[0]) == 1
    process = worker()
    _wait(lambda: queue.count <= 600)
    process.send_signal(signal.SIGSTOP)
    done_by_then = _done(queues.redis, [*large, *first])
    second = queues.enqueue_prelabel(3, range(50), version="")
    assert queue.get_job_position(second[0]) in (0, 1)
    process.send_signal(signal.SIGCONT)
    _wait(lambda: _done(queues.redis, [*large, *first, *second]) == 627)
    jobs = {job.id: job for job in Job.fetch_many([*large, *first, *second], connection=queues.redis) if job}
    ends = sorted(jobs, key=lambda one: jobs[one].ended_at or 0)
    assert ends.index(first[0]) == 1
    # Behind what the worker was at, and one job of the large import.
    assert ends.index(second[0]) <= done_by_then + 2 < 625
    # The large import in the order in which the tasks were given: the doubtful first.
    assert [one for one in ends if one in set(large)] == large


def _done(redis: Redis, ids: list[str]) -> int:
    return sum(job is not None and job.is_finished for job in Job.fetch_many(ids, connection=redis))


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)
