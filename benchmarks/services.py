"""A Redis, a Label Studio and workers of the benchmark's own, started and ended with it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from redis.exceptions import RedisError
from rq import Queue, Worker

from backend.detector.starter import STARTER, starter_facts
from backend.errors import ModelError
from backend.label_studio.client import LabelStudio
from backend.queues.job_records import open_ids
from backend.queues.queues import CHECKS, PRELABEL, Queues
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from launcher.stack.label_studio_server import personal_access_token, studio_answers, studio_program
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.secret_files import Secrets
from launcher.stack.stack import Stack, child_environment
from launcher.stack.supervisor import Supervisor, free_port

STUDIO_VENV = Path(".venv-label-studio")
WORKER_TIMEOUT_S = 60.0
WATCH_EVERY_S = 0.1
# What a command says → which part it is.
PARTS = {"redis-server": "Redis", "label-studio": "Label Studio", "launcher.cli worker": "worker"}


@contextmanager
def watched(programs: Supervisor | Stack) -> Iterator[None]:
    """Restarts programs that die while the block runs."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(WATCH_EVERY_S):
            programs.watch()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def stack_settings(folder: Path, **others: Any) -> Settings:
    """Returns settings of a whole `drape up` in `folder`, wherever the environment's services are.

    Args:
        others: further settings; all else is as in the environment.
    """
    return Settings(
        data_dir=folder,
        model_dir=None,
        port=free_port(),
        label_studio_url="",
        label_studio_api_key="",
        redis_url="",
        segmenter="builtin",
        approval="submitted",
        auto_accept="off",
        **others,
    )


@contextmanager
def services(folder: Path) -> Iterator[Settings]:
    """Both running with their data in `folder`; local files are served, and read directly, from `folder/files`.

    Raises:
        LauncherError: one of them does not start.
    """
    files = folder / "files"
    files.mkdir(parents=True)
    supervisor, secrets = Supervisor(folder / "logs"), Secrets(folder / "secrets")
    redis_port, port = free_port(), free_port()
    redis, url, password = redis_url(redis_port, "bench"), f"http://127.0.0.1:{port}", secrets.make("password")
    supervisor.start(redis_program(folder / "redis", port=redis_port, password="bench"))
    supervisor.start(
        studio_program(folder / "studio", venv=STUDIO_VENV, port=port, password=password, files_root=files)
    )
    try:
        supervisor.wait_until(lambda: redis_answers(redis), what="Redis", timeout_s=30)
        supervisor.wait_until(lambda: studio_answers(url), what="Label Studio", timeout_s=240)
        yield Settings(
            data_dir=folder / "data",
            label_studio_url=url,
            redis_url=redis,
            device="cpu",
            local_files_root=files,
            label_studio_api_key=personal_access_token(url, password=password, secrets=secrets),
        )
    finally:
        supervisor.stop()


def starter_version(settings: Settings, project_id: int, *, image_size_px: int) -> Version:
    """The starter model as the project's next version; not promoted yet."""
    return Registry.of(settings).add(
        project_id,
        weights=STARTER,
        classes=starter_facts().classes,
        parent=None,
        metrics={},
        annotations={},
        image_size_px=image_size_px,
        origin="starter",
    )


@contextmanager
def workers(settings: Settings, cores: Sequence[set[int]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """A worker that pre-annotates for each set of cores, which it is bound to; one more counts and shares out."""
    command = [sys.executable, "-m", "launcher.cli", "worker", "--queue"]
    all_cores = os.sched_getaffinity(0)
    started = []
    try:
        for queue, core_set in [(CHECKS, set().union(*cores)), *((PRELABEL, core_set) for core_set in cores)]:
            # Inherited by the child, whose libraries count the cores they may use as they start.
            os.sched_setaffinity(0, core_set)
            log = (settings.data_dir.parent / "logs" / "workers.log").open("ab")
            started.append(subprocess.Popen([*command, queue], env=child_environment(settings), stdout=log, stderr=log))
            log.close()
    finally:
        os.sched_setaffinity(0, all_cores)
    try:
        deadline = time.monotonic() + WORKER_TIMEOUT_S
        while len(Worker.all(connection=Queues(settings).redis)) < len(started):
            if time.monotonic() > deadline or any(worker.poll() is not None for worker in started):
                raise ModelError("A worker of the benchmark does not start; see workers.log.")
            time.sleep(0.1)
        yield started[1:]
    finally:
        for worker in started:
            worker.terminate()
        for worker in started:
            worker.wait(30)


def cpu_seconds() -> dict[str, float]:
    """Seconds of a core that each part has used: the processes that this one has started, by what they are."""
    used = dict.fromkeys(PARTS.values(), 0.0)
    for process in psutil.Process().children(recursive=True):
        command = " ".join(process.cmdline())
        part = next((part for word, part in PARTS.items() if word in command), None)
        if part:
            times = process.cpu_times()
            used[part] += times.user + times.system
    return used


def wait_until_done(
    settings: Settings,
    project_id: int,
    version: str,
    *,
    queues: Sequence[str] = (CHECKS, PRELABEL),
    poll_s: float = 0.1,
    timeout_s: float = 3600.0,
) -> None:
    """Returns once no job is open in the queues; polls Redis alone, which costs Label Studio nothing.

    Raises:
        ModelError: tasks are left without a prediction of the version, or jobs are still open after `timeout_s`.
    """
    redis = Queues(settings).redis
    watched = [Queue(name, connection=redis) for name in queues]
    deadline = time.monotonic() + timeout_s

    def is_open() -> bool:
        try:
            return any(map(open_ids, watched))
        except RedisError:
            return True

    # A job may queue one in a queue that was read before, and end before its own is read.
    idle = 0
    while idle < 2:
        if time.monotonic() > deadline:
            raise ModelError(f"Jobs are still open after {timeout_s:.0f} s.")
        idle = 0 if is_open() else idle + 1
        time.sleep(poll_s)
    left = LabelStudio(settings).waiting_task_ids(project_id, version=version)
    if left:
        raise ModelError(f"{len(left)} tasks were not pre-annotated.")
