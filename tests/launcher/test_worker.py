"""The worker on a real Redis: what it was working on is never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue, Worker
from rq.job import Job, JobStatus

from launcher.worker import put_back_lost_jobs

pytestmark = pytest.mark.services
ROOT = Path(__file__).parent.parent.parent
WORK = (
    "import sys; from redis import Redis; from launcher.worker import GarmentWorker, put_back_lost_jobs;"
    "connection = Redis.from_url(sys.argv[1]); put_back_lost_jobs(connection, ['jobs']);"
    "GarmentWorker(['jobs'], connection=connection).work()"
)


@pytest.fixture
def connection(redis_address: str) -> Iterator[Redis]:
    with Redis.from_url(redis_address) as opened:
        yield opened


@pytest.fixture
def start(redis_address: str) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts workers; what is left of them is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def one() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORK, redis_address]
        started.append(subprocess.Popen(command, cwd=ROOT, start_new_session=True))
        return started[-1]

    yield one
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(job: Job) -> bool:
    return job.get_status() == JobStatus.STARTED and bool(job.get_meta().get("pid"))


def work_for_long(seconds: float, path: str) -> None:
    """A job that says which process it is, and the second time ends at once."""
    from rq import get_current_job

    job = get_current_job()
    assert job is not None
    if Path(path).exists():
        return
    Path(path).touch()
    job.meta["pid"] = os.getpid()
    job.save_meta()
    time.sleep(seconds)


def test_a_stopped_worker_gives_its_job_back_at_once(
    connection: Redis, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue("tests.launcher.test_worker.work_for_long", 600, str(tmp_path / "seen"))
    later = queue.enqueue("tests.launcher.test_worker.work_for_long", 0, str(tmp_path / "seen"))
    worker = start()
    wait_for(lambda: running(job))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    assert job.get_status() == JobStatus.QUEUED
    # At the head: it was there first.
    assert queue.job_ids == [job.id, later.id]
    assert not queue.started_job_registry.get_job_ids(cleanup=False)
    with pytest.raises(ProcessLookupError):
        os.kill(job.get_meta()["pid"], 0)
    start()
    wait_for(lambda: job.get_status() == JobStatus.FINISHED and later.get_status() == JobStatus.FINISHED)


def test_what_a_killed_worker_left_is_taken_over(
    connection: Redis, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue("tests.launcher.test_worker.work_for_long", 600, str(tmp_path / "seen"))
    worker = start()
    wait_for(lambda: running(job))
    # While its worker lives, nobody takes the job.
    assert put_back_lost_jobs(connection, ["jobs"]) == []
    os.killpg(os.getpgid(job.get_meta()["pid"]), signal.SIGKILL)
    worker.send_signal(signal.SIGSTOP)
    worker.kill()
    worker.wait()
    assert job.get_status() == JobStatus.STARTED
    assert put_back_lost_jobs(connection, ["jobs"]) == [job.id]
    # Once only.
    assert put_back_lost_jobs(connection, ["jobs"]) == []
    assert queue.job_ids == [job.id]
    assert not Worker.all(connection=connection)
    start()
    wait_for(lambda: job.get_status() == JobStatus.FINISHED)


def test_a_job_that_fails_by_itself_is_not_put_back(
    connection: Redis, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue("tests.launcher.test_worker.does_not_exist")
    worker = start()
    wait_for(lambda: job.get_status() == JobStatus.FAILED)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(5) == 0
    assert queue.job_ids == []
