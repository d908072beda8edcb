"""The real stack at work with secrets that can be told from all else: where they turn up."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from fastapi.routing import iter_route_contexts
from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.job import JobStatus

from backend.app import create_app
from backend.label_studio.client import LabelStudio
from backend.queues.queues import QUEUES, Queues
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.telemetry.problems import Problems
from label_studio_config.provision import Backend, connect_backend
from launcher.stack.health import backend_answers
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.stack import child_environment
from launcher.stack.supervisor import Program, Supervisor, free_port
from tests.conftest import ROOT, Studio
from tests.projects import project_of_figures, promote_starter, write_broken_image
from tests.support import wait_for

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
REDIS, BASIC, HOOK = "leaky-redis-5b1d", "leaky-basic-88e0", "leaky-hook-c4f7"
PATIENCE_S = 150


@dataclass(frozen=True)
class RunningStack:
    """A stack that has worked on a project, and still runs."""

    settings: Settings
    supervisor: Supervisor
    folder: Path
    project_id: int

    @property
    def secrets(self) -> tuple[bytes, ...]:
        # Of the token, what no other token has: its signature.
        key = self.settings.label_studio_api_key.rpartition(".")[2]
        return tuple(one.encode() for one in (REDIS, BASIC, HOOK, key))

    def found_in(self, text: bytes) -> list[bytes]:
        return [one for one in self.secrets if one in text]


@pytest.fixture(scope="module")
def stack(
    label_studio: Studio, tmp_path_factory: pytest.TempPathFactory, starter: Path, prepared_starter: Path
) -> Iterator[RunningStack]:
    folder, port = tmp_path_factory.mktemp("leaks"), free_port()
    settings = Settings(
        data_dir=folder / "data",
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.api_key,
        redis_url=redis_url(port, REDIS),
        basic_auth_user="studio",
        basic_auth_pass=BASIC,
        webhook_secret=HOOK,
        device="cpu",
        segmenter="builtin",
        port=free_port(),
        log_level="DEBUG",
    )
    studio, files = LabelStudio(settings), label_studio.files / folder.name
    write_broken_image(files)
    project_id = project_of_figures(studio, files, [1, 2], title="leaks")
    gone = [{"data": {"image": "/data/local-files/?d=gone.jpg"}}, {"data": {"image": "http://127.0.0.1:1/a.jpg"}}]
    studio.sdk.projects.import_tasks(project_id, request=gone)
    version = promote_starter(Registry(settings.models_path), project_id, starter, prepared_starter)
    supervisor = Supervisor(folder / "logs")
    try:
        supervisor.start(redis_program(folder / "data" / "redis", port=port, password=REDIS))
        supervisor.wait_until(lambda: redis_answers(settings.redis_url), what="Redis", timeout_s=30)
        environment = child_environment(settings)
        for verb in ("serve", "worker", "timer"):
            supervisor.start(Program(verb, [sys.executable, "-m", "launcher.cli", verb], environment, ROOT))
        supervisor.wait_until(lambda: backend_answers(settings.backend_address), what="The backend", timeout_s=120)
        backend = Backend(url=f"http://127.0.0.1:{settings.port}", user="studio", password=BASIC, webhook_secret=HOOK)
        connect_backend(studio, project_id=project_id, backend=backend)
        found = RunningStack(settings, supervisor, folder, project_id)
        queues = Queues(settings)
        queues.enqueue_plan(project_id)
        # Nothing is approved: it fails, and RQ keeps why.
        queues.enqueue_training(project_id, reason="to see it fail")
        failed = Queue("train", connection=queues.redis).failed_job_registry
        wait_for(lambda: bool(failed.get_job_ids()), what="the training does not fail")
        wait_for(
            lambda: len(studio.waiting_task_ids(project_id, version=version.name)) <= 3,
            timeout_s=PATIENCE_S,
            what="nothing is predicted",
        )
        wait_for(lambda: len(Problems(queues.redis).recent(9)) >= 3, what="no image fails")
        yield found
    finally:
        supervisor.stop()
        studio.sdk.projects.delete(project_id)


def whole(redis: Redis, key: bytes) -> list[Any]:
    """All that is kept under a key."""
    match redis.type(key):
        case b"none":
            # It ended meanwhile.
            return []
        case b"string":
            return [one for one in [redis.get(key)] if one is not None]
        case b"list":
            return list(redis.lrange(key, 0, -1))
        case b"hash":
            return [part for pair in redis.hgetall(key).items() for part in pair]
        case b"set":
            return list(redis.smembers(key))
        case b"zset":
            return list(redis.zrange(key, 0, -1))
        case b"stream":
            return [part for _, fields in redis.xrange(key) or [] for pair in (fields or {}).items() for part in pair]
        case kind:
            raise ValueError(f"{key!r} is a {kind!r}")


def test_redis_holds_no_secret(stack: RunningStack) -> None:
    redis = Queues(stack.settings).redis
    seen = 0
    for key in redis.scan_iter():
        # One that has ended meanwhile holds nothing.
        with suppress(ResponseError):
            for value in (key, *whole(redis, key)):
                assert not stack.found_in(value), key
                with suppress(zlib.error):
                    # So RQ keeps arguments, and why a job failed.
                    assert not stack.found_in(zlib.decompress(value)), key
                    seen += 1
    assert seen > 3


def test_jobs_carry_no_secret(stack: RunningStack) -> None:
    connection = Queues(stack.settings).redis
    kept = 0
    for name in QUEUES:
        queue = Queue(name, connection=connection)
        for registry in (queue.failed_job_registry, queue.finished_job_registry):
            for job_id in registry.get_job_ids(cleanup=False):
                job = queue.fetch_job(job_id)
                if job is not None:
                    result = job.latest_result()
                    said = f"{job.args} {job.kwargs} {job.meta} {job.description} {result and result.exc_string}"
                    assert not stack.found_in(said.encode()), job_id
                    kept += job.get_status() in (JobStatus.FAILED, JobStatus.FINISHED)
    assert kept


def test_logs_hold_no_secret(stack: RunningStack) -> None:
    logs = {path.name: path.read_bytes() for path in (stack.folder / "logs").iterdir()}
    assert set(logs) == {"redis.log", "serve.log", "worker.log", "timer.log"}
    assert b"to see it fail" in logs["worker.log"]
    assert {name: found for name, text in logs.items() if (found := stack.found_in(text))} == {}


def test_the_list_of_processes_shows_no_secret(stack: RunningStack) -> None:
    ours = [psutil.Process(pid) for pid in stack.supervisor.processes().values()]
    family = [*ours, *(child for one in ours for child in one.children(recursive=True))]
    assert len(family) >= 4
    for process in family:
        with suppress(psutil.NoSuchProcess):
            assert not stack.found_in(" ".join(process.cmdline()).encode())


def test_files_that_hold_a_secret_are_for_their_owner_alone(stack: RunningStack) -> None:
    holding = {}
    for path in (stack.folder / "data").rglob("*"):
        if path.is_file() and stack.found_in(path.read_bytes()):
            holding[path.name] = path.stat().st_mode & 0o777
    assert holding == {"redis.conf": 0o600}


def test_no_route_tells_a_secret(stack: RunningStack) -> None:
    routes = list(iter_route_contexts(create_app(stack.settings).routes))
    assert "/projects/{project_id}/versions/{name}/report" in {route.path for route in routes}
    bodies: list[Any] = [None, [], {"action": "x", "project": {"id": stack.project_id}}, {"schema": "<View"}]
    asked = 0
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.settings.port}", timeout=60) as client:
        for route in routes:
            path = str(route.path)
            # A button of the page would start or stop something.
            for method in sorted(set(route.methods or ()) - ({"POST"} if path.startswith("/projects/") else set())):
                address = path.replace("{project_id}", str(stack.project_id)).replace("{", "").replace("}", "")
                for auth in (None, ("studio", BASIC), ("studio", "wrong")):
                    for body in bodies:
                        # A body of nonsense is refused by each.
                        answer = client.request(method, address, json=body, auth=auth, headers={"Accept": "text/html"})
                        told = answer.content + str(answer.headers.raw).encode()
                        assert not stack.found_in(told), (method, address)
                        asked += 1
    assert asked > 100
