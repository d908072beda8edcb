"""The worker on a real Redis: what it was working on is never lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from inspect import signature
from pathlib import Path
from threading import Event
from typing import cast

import pytest
from redis import Redis
from rq import Queue, Retry, Worker
from rq.exceptions import StopRequested
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.worker import BaseWorker

from backend.errors import QueueError
from backend.queues.job_records import open_ids
from backend.queues.worker import GarmentWorker, ResidentWorker
from backend.telemetry.problems import Problems
from tests.backend.queues.conftest import LOST_AFTER_S, PATIENCE_S, ROOT, running
from tests.support import wait_for

pytestmark = pytest.mark.services


def test_three_internals_of_rq_are_overridden_and_are_as_they_were() -> None:
    """A new RQ that renames or changes one of them must fail here: `work` is RQ's documented entry."""
    own = (*GarmentWorker.__mro__, *ResidentWorker.__mro__)
    named = {name for kind in own if kind.__module__ == "backend.queues.worker" for name in vars(kind)}
    overridden = {name for name in named if callable(getattr(BaseWorker, name, None)) and not name.startswith("__")}
    assert overridden == {
        "work",
        "request_stop",
        "get_heartbeat_ttl",
        "handle_job_failure",
    }
    assert list(signature(BaseWorker.request_stop).parameters) == ["self", "signum", "frame"]
    assert list(signature(BaseWorker.heartbeat).parameters) == ["self", "timeout", "pipeline"]
    assert list(signature(BaseWorker.get_heartbeat_ttl).parameters) == ["self", "job"]
    failure = ["self", "job", "queue", "started_job_registry", "exc_string"]
    assert list(signature(BaseWorker.handle_job_failure).parameters) == failure


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
    job = queue.enqueue("tests.backend.queues.test_worker.work_for_long", 600, str(tmp_path / "seen"))
    later = queue.enqueue("tests.backend.queues.test_worker.work_for_long", 0, str(tmp_path / "seen"))
    worker = start()
    wait_for(lambda: running(job))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0
    assert job.get_status() == JobStatus.QUEUED
    # At the head: it was there first.
    assert queue.job_ids == [job.id, later.id]
    assert not queue.started_job_registry.get_job_ids(cleanup=False)
    with pytest.raises(ProcessLookupError):
        os.kill(job.get_meta()["pid"], 0)
    start()
    wait_for(lambda: job.get_status() == JobStatus.FINISHED and later.get_status() == JobStatus.FINISHED)


def work_regardless(path: str) -> None:
    """A job that takes whatever ends it for an error and goes on; the second time it ends at once."""
    if Path(path).exists():
        return
    Path(path).touch()
    ends_at = time.monotonic() + 60
    while time.monotonic() < ends_at:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001
            continue


def wait_in_a_thread(path: str) -> None:
    """A job that ends when asked, but for a thread that its process would wait for."""
    if Path(path).exists():
        return
    with ThreadPoolExecutor() as pool:
        pool.submit(time.sleep, 60)
        Path(path).touch()
        time.sleep(60)


@pytest.mark.parametrize("work", [work_regardless, wait_in_a_thread])
def test_a_resident_worker_ends_whatever_its_job_does_and_another_runs_the_job(
    connection: Redis, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, work: Callable[[str], None]
) -> None:
    queue, seen = Queue("jobs", connection=connection), tmp_path / "seen"
    function = f"tests.backend.queues.test_worker.{work.__name__}"
    job, later = (queue.enqueue(function, str(seen), retry=Retry(max=3)) for _ in range(2))
    worker = start("ResidentWorker")
    wait_for(seen.exists)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0
    start("ResidentWorker")
    wait_for(lambda: job.get_status() == JobStatus.FINISHED and later.get_status() == JobStatus.FINISHED)


@pytest.mark.parametrize("kind", ["GarmentWorker", "ResidentWorker"])
def test_while_its_worker_lives_nobody_takes_a_job(
    connection: Redis, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, kind: str
) -> None:
    queue, go_on = Queue("jobs", connection=connection), tmp_path / "go-on"
    job = queue.enqueue("tests.backend.queues.test_worker.work_until", str(go_on), retry=Retry(max=3))
    start(kind)
    wait_for(lambda: job.get_status() == JobStatus.STARTED)
    start(kind)
    begun_at = time.time()
    # Signs of life came for longer than the other worker waits for one.
    wait_for(lambda: lost_at(queue.started_job_registry) > begun_at + 3 * LOST_AFTER_S)
    go_on.touch()
    wait_for(lambda: job.get_status() == JobStatus.FINISHED)
    assert Path(f"{go_on}-ended").read_text() == "."


@pytest.mark.parametrize("kind", ["GarmentWorker", "ResidentWorker"])
def test_a_worker_lives_on_after_its_job(
    connection: Redis, start: Callable[..., subprocess.Popen[bytes]], kind: str
) -> None:
    """What it ran is in no registry then, as if another worker had it."""
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue(os.getpid)
    worker = start(kind)
    wait_for(lambda: job.get_status() == JobStatus.FINISHED)
    ended_at = datetime.now(timezone.utc)
    wait_for(lambda: worker.poll() is not None or last_beat(connection) > ended_at + timedelta(seconds=LOST_AFTER_S))
    assert worker.poll() is None


def test_a_sign_of_life_that_comes_before_the_worker_is_known_does_not_stop_it(connection: Redis) -> None:
    """While Redis is slow to answer: RQ would take what it left there for another worker of that name."""
    worker = ResidentWorker("jobs", connection=connection, lost_after_s=LOST_AFTER_S)
    worker._give_sign_of_life()
    assert not worker.work(burst=True)


def test_a_sign_of_life_that_fails_is_followed_by_the_next(
    connection: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the error: a worker that falls silent loses its job to another while it still runs it."""
    worker, ended, tries = ResidentWorker("jobs", connection=connection, lost_after_s=LOST_AFTER_S), Event(), []

    def give() -> None:
        tries.append(1)
        if len(tries) > 1:
            ended.set()
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(worker, "_give_sign_of_life", give)
    worker._beat(ended)
    assert len(tries) == 2
    assert "dictionary changed size" in caplog.text


def last_beat(connection: Redis) -> datetime:
    """When the only worker gave its last sign of life."""
    (worker,) = Worker.all(connection=connection)
    assert worker.last_heartbeat is not None
    return worker.last_heartbeat


def lost_at(registry: StartedJobRegistry) -> float:
    """When the job that runs would count as lost; 0 where none runs."""
    entries = cast(list[bytes], registry.connection.zrange(registry.key, 0, -1))
    return max((registry.connection.zscore(registry.key, entry) or 0.0 for entry in entries), default=0.0)


def test_what_a_killed_worker_left_is_taken_over(
    connection: Redis, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue(
        "tests.backend.queues.test_worker.work_for_long", 600, str(tmp_path / "seen"), retry=Retry(max=3)
    )
    worker = start()
    wait_for(lambda: running(job))
    horses = os.getpgid(job.get_meta()["pid"])
    worker.send_signal(signal.SIGSTOP)
    os.killpg(horses, signal.SIGKILL)
    worker.kill()
    worker.wait()
    assert job.get_status() == JobStatus.STARTED
    start()
    wait_for(lambda: job.get_status() == JobStatus.FINISHED)


def kill_worker() -> None:
    """A job that kills its worker, as too little memory does."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_that_kills_every_worker_is_given_up_and_the_next_one_runs(
    connection: Redis, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    queue = Queue("jobs", connection=connection)
    deadly = queue.enqueue(kill_worker, retry=Retry(max=3))
    harmless = queue.enqueue(work_for_long, 0, str(tmp_path / "seen"))
    for _ in range(4):
        # Each finds the job once its last worker counts as lost.
        assert start("ResidentWorker").wait(PATIENCE_S) == -signal.SIGKILL
    start("ResidentWorker")
    wait_for(lambda: harmless.get_status() == JobStatus.FINISHED)
    wait_for(lambda: deadly.get_status() == JobStatus.FAILED)
    assert queue.failed_job_registry.get_job_ids() == [deadly.id]
    (problem,) = Problems(connection).recent(5)
    assert f"The job {deadly.id} is given up: each worker that ran it died" in problem.text


class DiesTooSoon(ResidentWorker):
    """Is killed when it has taken a job, and before it could tell that it runs."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_is_not_lost_with_a_worker_that_had_just_taken_it(
    connection: Redis, redis_address: str, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue(os.getpid, retry=Retry(max=3))
    code = (
        f"from redis import Redis; from tests.backend.queues.test_worker import DiesTooSoon;"
        f"DiesTooSoon('jobs', connection=Redis.from_url('{redis_address}'), lost_after_s={LOST_AFTER_S}).work()"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert queue.job_ids == [] and job.get_status() == JobStatus.QUEUED
    assert open_ids(queue) == [job.id]
    # As RQ does by itself a minute after it has first seen the job there.
    first_seen = queue.intermediate_queue.get_first_seen_key(job.id)
    connection.set(first_seen, time.time() - 61)
    start("ResidentWorker")
    wait_for(lambda: job.get_status() == JobStatus.FINISHED)
    assert open_ids(queue) == []


class LosesItsHorse(GarmentWorker):
    """Its job's process is killed before that could tell that the job runs."""

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class LosesItself(GarmentWorker):
    """Has told that it runs a job, and ends before the job's process is there."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        raise StopRequested


@pytest.mark.parametrize("kind", [LosesItsHorse, LosesItself])
def test_a_job_that_is_tried_again_waits_once(connection: Redis, kind: type[GarmentWorker]) -> None:
    """Two of a project's trainings would run at the same time."""
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue(os.getpid, retry=Retry(max=3))
    kind("jobs", connection=connection, lost_after_s=3).work(burst=True, max_jobs=1)
    for entry in cast(list[bytes], connection.zrange(queue.started_job_registry.key, 0, -1)):
        # As after a long silence.
        connection.zadd(queue.started_job_registry.key, {entry: 1})
    another = GarmentWorker("jobs", connection=connection, lost_after_s=3)
    for _ in range(2):
        another.clean_registries()
        # As if RQ had seen the job a minute ago.
        connection.set(queue.intermediate_queue.get_first_seen_key(job.id), time.time() - 61)
    another.clean_registries()
    assert queue.job_ids == [job.id]


@pytest.mark.parametrize("ahead_s", [-100, 100])
def test_a_worker_with_a_wrong_clock_does_not_work(
    connection: Redis, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """It would take jobs that run elsewhere for lost, or never be missed itself."""
    right = time.time
    monkeypatch.setattr("backend.queues.worker.time.time", lambda: right() + ahead_s)
    worker = ResidentWorker("jobs", connection=connection, lost_after_s=30)
    with pytest.raises(QueueError, match=r"clock is 100 s (ahead of|behind) that of Redis"):
        worker.work(burst=True)


def test_a_job_whose_process_was_killed_is_tried_again(
    connection: Redis, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """As by the system, when memory is used up; a few times only."""
    queue = Queue("jobs", connection=connection)
    tried = tmp_path / "tried"
    job = queue.enqueue("tests.backend.queues.test_worker.die", str(tried), retry=Retry(max=3))
    worker = start()
    wait_for(lambda: job.get_status() == JobStatus.FAILED)
    assert worker.poll() is None
    assert tried.read_text() == "...."
    (problem,) = Problems(connection).recent(5)
    assert f"The job {job.id} is given up" in problem.text
    again = queue.enqueue(
        "tests.backend.queues.test_worker.work_for_long", 600, str(tmp_path / "seen"), retry=Retry(max=3)
    )
    wait_for(lambda: running(again))
    pid = again.get_meta()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: again.get_status() == JobStatus.FINISHED)


def die(path: str) -> None:
    """A job that notes that it was begun, and is killed."""
    with Path(path).open("a") as file:
        file.write(".")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_that_fails_by_itself_is_not_put_back(
    connection: Redis, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    queue = Queue("jobs", connection=connection)
    job = queue.enqueue("tests.backend.queues.test_worker.does_not_exist")
    worker = start()
    wait_for(lambda: job.get_status() == JobStatus.FAILED)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_S) == 0
    assert queue.job_ids == []


def work_until(go_on: str) -> None:
    """A job that goes on until there is a file, and notes that it ended."""
    while not Path(go_on).exists():
        time.sleep(0.05)
    with Path(f"{go_on}-ended").open("a") as file:
        file.write(".")
