"""Workers whose Redis is away, or which are cut off from it: nothing runs twice, nothing runs on alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue, Retry, Worker
from rq.job import JobStatus

from benchmarks.faults.proxy import Proxy
from launcher.stack.redis_server import redis_url
from launcher.stack.supervisor import free_port
from tests.backend.queues.conftest import PATIENCE_S, ROOT, WORK, is_alive, running
from tests.support import wait_for

pytestmark = pytest.mark.services


def forgotten(connection: Redis) -> bool:
    """Whether no worker is known once their records were deleted: what one still had to tell comes back."""
    for known in Worker.all(connection=connection):
        connection.delete(known.key)
    return not Worker.all(connection=connection)


@pytest.mark.parametrize("kind", ["GarmentWorker", "ResidentWorker"])
def test_a_job_that_ends_while_redis_is_away_is_done_once_it_is_back(
    connection: Redis, redis_address: str, tmp_path: Path, kind: str
) -> None:
    """RQ's own workers end then, and the job is run again by another."""
    port, go_on = free_port(), tmp_path / "go-on"
    queue = Queue("jobs", connection=connection)
    with Proxy(port, to=int(redis_address.rpartition(":")[2].partition("/")[0])) as proxy:
        command = [sys.executable, "-c", WORK, redis_url(port, "test"), kind]
        worker = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            job = queue.enqueue("tests.backend.queues.test_worker.work_until", str(go_on), retry=Retry(max=3))
            wait_for(lambda: job.get_status() == JobStatus.STARTED)
            proxy.refuses = True
            proxy.drop()
            go_on.touch()
            # redis-py alone gives up after some seconds.
            time.sleep(9)
            proxy.heal()
            wait_for(lambda: job.get_status() == JobStatus.FINISHED)
            assert worker.poll() is None
            wait_for(lambda: not queue.started_job_registry.get_job_ids(cleanup=False))
            assert Path(f"{go_on}-ended").read_text() == "."
            # Redis has nothing of it any more, as after a long silence: with the next sign of life it is known again.
            wait_for(lambda: forgotten(connection))
            later = queue.enqueue("tests.backend.queues.test_worker.work_until", str(go_on))
            wait_for(lambda: later.get_status() == JobStatus.FINISHED)
            wait_for(lambda: len(Worker.all(connection=connection)) == 1)
            (known,) = Worker.all(connection=connection)
            assert (known.pid, known.queue_names()) == (worker.pid, ["jobs"])
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE_S) == 0
        finally:
            worker.kill()
            worker.wait()


@pytest.mark.parametrize("kind", ["ResidentWorker", "GarmentWorker"])
def test_who_stops_a_worker_does_not_wait_for_redis(redis_address: str, connection: Redis, kind: str) -> None:
    port = free_port()
    with Proxy(port, to=int(redis_address.rpartition(":")[2].partition("/")[0])) as proxy:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORK, redis_url(port, "test"), kind], cwd=ROOT, start_new_session=True
        )
        try:
            wait_for(lambda: len(Worker.all(connection=connection)) == 1)
            proxy.refuses = True
            proxy.drop()
            time.sleep(1)
            worker.send_signal(signal.SIGTERM)
            worker.wait(PATIENCE_S)
        finally:
            worker.kill()
            worker.wait()


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("kind", ["ResidentWorker", "GarmentWorker"])
def test_a_worker_that_is_stopped_without_redis_leaves_no_job_running(
    redis_address: str, connection: Redis, tmp_path: Path, kind: str, silent: bool
) -> None:
    """A training that went on alone would be trained a second time by the worker that takes it over."""
    port, queue = free_port(), Queue("jobs", connection=connection)
    with Proxy(port, to=int(redis_address.rpartition(":")[2].partition("/")[0])) as proxy:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORK, redis_url(port, "test"), kind], cwd=ROOT, start_new_session=True
        )
        pid = 0
        try:
            function = "tests.backend.queues.test_worker.work_for_long"
            job = queue.enqueue(function, 600, str(tmp_path / "seen"), retry=Retry(max=3))
            wait_for(lambda: running(job))
            pid = job.get_meta()["pid"]
            if silent:
                proxy.delay_s = 600
            else:
                proxy.refuses = True
                proxy.drop()
            worker.send_signal(signal.SIGTERM)
            worker.wait(PATIENCE_S)
            wait_for(lambda: not is_alive(pid))
        finally:
            worker.kill()
            worker.wait()
            if pid and is_alive(pid):
                os.kill(pid, signal.SIGKILL)


def note_and_wait(folder: str) -> None:
    """A job that notes its process, and goes on until there is a file."""
    Path(folder, str(os.getpid())).touch()
    while not Path(folder, "go-on").exists():
        time.sleep(0.05)


def test_a_worker_that_was_cut_off_ends_the_training_that_another_has_by_now(
    redis_address: str, connection: Redis, start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    port, queue = free_port(), Queue("jobs", connection=connection)

    def processes() -> list[int]:
        return [int(path.name) for path in tmp_path.iterdir()]

    with Proxy(port, to=int(redis_address.rpartition(":")[2].partition("/")[0])) as proxy:
        command = [sys.executable, "-c", WORK, redis_url(port, "test"), "GarmentWorker"]
        cut_off = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        begun: list[int] = []
        try:
            job = queue.enqueue(note_and_wait, str(tmp_path), retry=Retry(max=3))
            wait_for(lambda: len(processes()) == 1)
            begun = processes()
            proxy.refuses = True
            proxy.drop()
            start()
            wait_for(lambda: len(processes()) == 2)
            proxy.heal()
            wait_for(lambda: not is_alive(begun[0]))
            # The other goes on, and the first waits for its next job.
            wait_for(
                lambda: {str(known.get_state()) for known in Worker.all(connection=connection)} == {"busy", "idle"}
            )
            assert queue.job_ids == [] and job.get_status() == JobStatus.STARTED
            (tmp_path / "go-on").touch()
            wait_for(lambda: job.get_status() == JobStatus.FINISHED)
            assert cut_off.poll() is None
        finally:
            cut_off.kill()
            cut_off.wait()
            for pid in filter(is_alive, begun):
                os.kill(pid, signal.SIGKILL)
