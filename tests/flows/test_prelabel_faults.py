"""Whatever dies in the middle of an import of 300 tasks: in the end each has exactly one prediction of the version."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.utils import now

from backend.errors import LabelStudioError
from backend.label_studio.client import LabelStudio
from backend.prelabel.jobs import plan
from backend.queues.job_records import open_ids
from backend.queues.queues import CHECKS, PRELABEL, Queues
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.timer import look_after
from benchmarks.services import watched
from launcher.stack.label_studio_server import personal_access_token, studio_answers, studio_program
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.secret_files import Secrets
from launcher.stack.stack import child_environment
from launcher.stack.supervisor import Program, Supervisor, free_port
from tests.conftest import ROOT, STUDIO_VENV, Studio
from tests.projects import project_of_figures, promote_starter
from training.jobs import check_approvals

pytestmark = [pytest.mark.services, pytest.mark.timeout(420)]

TASKS, FILES, CHUNK = 300, 20, 16
PATIENCE_S = 150


@dataclass(frozen=True)
class Site:
    """A Redis, a Label Studio and their supervisor, all of which may be killed: what dies is started again."""

    settings: Settings
    supervisor: Supervisor
    files: Path

    @property
    def label_studio(self) -> LabelStudio:
        return LabelStudio(self.settings)

    @property
    def queues(self) -> Queues:
        return Queues(self.settings)

    def pid_of(self, name: str) -> int:
        """Process number of a supervised program."""
        return next(child.process.pid for child in self.supervisor._children if child.program.name == name)


@contextmanager
def watched_until_stopped(supervisor: Supervisor) -> Iterator[None]:
    try:
        with watched(supervisor):
            yield
    finally:
        supervisor.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, label_studio: Studio) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    files = folder / "files"
    files.mkdir()
    supervisor, secrets = Supervisor(folder / "logs"), Secrets(folder / "secrets")
    redis_port, studio_port = free_port(), free_port()
    url, password = f"http://127.0.0.1:{studio_port}", secrets.make("password")
    label_studio.copy_into(folder / "studio", password=password)
    supervisor.start(redis_program(folder / "redis", port=redis_port, password="test"))
    supervisor.start(
        studio_program(folder / "studio", venv=STUDIO_VENV, port=studio_port, password=password, files_root=files)
    )
    with watched_until_stopped(supervisor):
        supervisor.wait_until(lambda: redis_answers(redis_url(redis_port, "test")), what="Redis", timeout_s=30)
        supervisor.wait_until(lambda: studio_answers(url), what="Label Studio", timeout_s=240)
        settings = Settings(
            data_dir=folder / "data",
            label_studio_url=url,
            redis_url=redis_url(redis_port, "test"),
            device="cpu",
            label_studio_api_key=personal_access_token(url, password=password, secrets=secrets),
            prelabel_chunk=CHUNK,
            worker_lost_after_s=3,
            local_files_root=files,
        )
        yield Site(settings, supervisor, files)


@dataclass
class Import:
    """One project with its 300 tasks, and what shall predict them."""

    site: Site
    project_id: int
    version: str

    def predicted(self) -> Counter[int]:
        """Task id → how many predictions of the version it has."""
        studio = self.site.label_studio
        tasks = studio.tasks(self.project_id, studio.task_ids(self.project_id))
        assert len(tasks) == TASKS
        return Counter(
            {
                int(task["id"]): sum(one["model_version"] == self.version for one in task["predictions"])
                for task in tasks
            }
        )

    def waiting(self) -> int:
        try:
            return len(self.site.label_studio.waiting_task_ids(self.project_id, version=self.version))
        except LabelStudioError:
            return TASKS

    def wait_until_begun(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self.waiting() > TASKS - 2 * CHUNK:
            assert time.monotonic() < deadline, "nothing begins"
            time.sleep(0.05)

    def is_over(self) -> bool:
        try:
            queues = [Queue(name, connection=self.site.queues.redis) for name in (CHECKS, PRELABEL)]
            is_open = any(map(open_ids, queues))
        except RedisError:
            return False
        return not is_open and self.waiting() == 0

    def is_half_way(self) -> None:
        """What dies now dies in the middle: more than the work in hand still waits."""
        assert self.waiting() > CHUNK, "it was over before anything died"

    def ends_well(self, *, counted: bool = True) -> None:
        """Waits for the end; every task has one prediction, and no job failed.

        Args:
            counted: each task counts as done once; False where Redis may have lost counts or jobs.
        """
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_over():
            assert time.monotonic() < deadline, f"{self.waiting()} tasks still wait"
            time.sleep(0.3)
        counts = self.predicted()
        assert set(counts.values()) == {1}, Counter(counts.values())
        queue = Queue(PRELABEL, connection=self.site.queues.redis)
        assert queue.failed_job_registry.get_job_ids() == []
        if counted:
            backlog = self.site.queues.prelabelling(self.project_id, version=self.version)
            assert backlog.progress(since=now()).done == TASKS


@pytest.fixture
def begun(site: Site, starter: Path, prepared_starter: Path, request: pytest.FixtureRequest) -> Import:
    with Redis.from_url(site.settings.redis_url) as connection:
        connection.flushall()
    folder = site.files / "figures"
    studio = site.label_studio
    project_id = project_of_figures(studio, folder, range(700, 700 + FILES), title=request.node.name[:50])
    addresses = [task["data"]["image"] for task in studio.tasks(project_id, studio.task_ids(project_id))]
    more = [{"data": {"image": addresses[number % FILES]}} for number in range(TASKS - FILES)]
    studio.sdk.projects.import_tasks(project_id, request=more)
    version = promote_starter(Registry(site.settings.models_path), project_id, starter, prepared_starter)
    site.queues.enqueue_plan(project_id)
    return Import(site, project_id, version.name)


def worker_program(site: Site, name: str, *queues: str) -> Program:
    named = [part for queue in queues for part in ("--queue", queue)]
    command = [sys.executable, "-m", "launcher.cli", "worker", *named]
    return Program(name, command, child_environment(site.settings), ROOT)


@pytest.fixture
def workers(site: Site, tmp_path: Path) -> Iterator[Callable[[int], list[psutil.Process]]]:
    """Starts so many workers that pre-annotate under a supervisor of their own; gives their processes."""
    supervisor = Supervisor(tmp_path / "logs")

    def start(count: int) -> list[psutil.Process]:
        supervisor.start(worker_program(site, "worker-checks", CHECKS))
        for number in range(count):
            supervisor.start(worker_program(site, f"worker-{number}", PRELABEL))
        return [psutil.Process(child.process.pid) for child in supervisor._children[1:]]

    with watched_until_stopped(supervisor):
        yield start


def test_a_worker_killed_half_way(begun: Import, workers: Callable[[int], list[psutil.Process]]) -> None:
    (worker,) = workers(1)
    begun.wait_until_begun()
    begun.is_half_way()
    worker.kill()
    begun.ends_well()


def test_one_of_two_workers_killed(begun: Import, workers: Callable[[int], list[psutil.Process]]) -> None:
    first, _ = workers(2)
    begun.wait_until_begun()
    begun.is_half_way()
    first.kill()
    begun.ends_well()


def test_redis_restarted_half_way(begun: Import, workers: Callable[[int], list[psutil.Process]]) -> None:
    workers(1)
    begun.wait_until_begun()
    begun.is_half_way()
    os.kill(begun.site.pid_of("redis"), signal.SIGKILL)
    begun.ends_well(counted=False)


def test_label_studio_restarted_half_way(begun: Import, workers: Callable[[int], list[psutil.Process]]) -> None:
    workers(1)
    begun.wait_until_begun()
    begun.is_half_way()
    os.kill(begun.site.pid_of("label-studio"), signal.SIGKILL)
    begun.ends_well(counted=False)


def test_counts_and_looks_wait_for_label_studio_too(begun: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in child_environment(begun.site.settings).items():
        monkeypatch.setenv(name, value)
    os.kill(begun.site.pid_of("label-studio"), signal.SIGKILL)
    assert not studio_answers(begun.site.settings.label_studio_url)
    with ThreadPoolExecutor() as pool:
        counted = pool.submit(check_approvals, begun.project_id)
        planned = pool.submit(plan, begun.project_id)
        looked = pool.submit(look_after)
        assert counted.result()["new"] == 0
        assert planned.result()["tasks"] == TASKS
        assert looked.result()["projects"] >= 1


def test_a_worker_that_is_stopped_gives_its_job_back_at_once(begun: Import) -> None:
    program = worker_program(begun.site, "worker", CHECKS, PRELABEL)
    worker = subprocess.Popen(program.command, env=dict(program.environment), cwd=ROOT)
    begun.wait_until_begun()
    worker.send_signal(signal.SIGTERM)
    worker.wait(30)
    queue = Queue(PRELABEL, connection=begun.site.queues.redis)
    assert queue.started_job_registry.get_job_ids(cleanup=False) == []
    assert begun.waiting() > 0 and len(queue) > 0
    worker = subprocess.Popen(program.command, env=dict(program.environment), cwd=ROOT)
    try:
        begun.ends_well()
    finally:
        worker.terminate()
        worker.wait(30)
