"""Workers as processes of their own, on a real Redis."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq.job import Job, JobStatus

ROOT = Path(__file__).parent.parent.parent.parent
# Far less than what the jobs here take; a busy machine is slow to start an interpreter.
PATIENCE_S = 50
LOST_AFTER_S = 3
WORK = (
    "import sys; from redis import Redis; from backend.queues import worker;"
    f"work = getattr(worker, sys.argv[2])('jobs', connection=Redis.from_url(sys.argv[1]), lost_after_s={LOST_AFTER_S});"
    "work.work()"
)


@pytest.fixture
def connection(redis_address: str) -> Iterator[Redis]:
    with Redis.from_url(redis_address) as opened:
        yield opened


@pytest.fixture
def start(redis_address: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts workers; what is left of them is killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def one(kind: str = "GarmentWorker") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORK, redis_address, kind]
        started.append(subprocess.Popen(command, cwd=ROOT, start_new_session=True))
        return started[-1]

    yield one
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def running(job: Job) -> bool:
    return job.get_status() == JobStatus.STARTED and bool(job.get_meta().get("pid"))


def is_alive(pid: int) -> bool:
    """Whether there is the process, which may be nobody's child."""
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
