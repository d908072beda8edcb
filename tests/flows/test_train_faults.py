"""Whatever dies in the middle of a training: in the end there is one new version, judged, promoted; nothing else."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from rq import Queue

from backend.detector.detector_pool import load_detector
from backend.queues.queues import CHECKS, TRAIN
from backend.registry.records import read_text
from backend.registry.registry import Registry
from backend.registry.verdict import read_verdict
from backend.settings import Settings
from backend.timer import look_after, timer
from launcher.stack.stack import child_environment
from launcher.stack.supervisor import free_port
from tests.conftest import ROOT
from tests.support import wait_for
from tests.training.conftest import SEEDS, Workplace
from training.jobs import check_approvals, train

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.timeout(900)]

# Runs a training that is killed at the n-th call of a function, before or after it.
KILLED = """
import importlib, os, signal, sys
project_id, module, name, call, when = int(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4]), sys.argv[5]
holder = importlib.import_module(module)
*path, last = name.split(".")
for part in path:
    holder = getattr(holder, part)
original, calls = getattr(holder, last), []
def killing(*args, **kwargs):
    calls.append(1)
    if when == "before" and len(calls) == call:
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    if when == "after" and len(calls) == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(holder, last, killing)
from training.jobs import train
train(project_id, "test")
"""
FULL = """
import resource, sys
from training.jobs import train
# No file may be larger: what a full disk looks like to whoever writes weights.
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
train(int(sys.argv[1]), "test")
"""
# In the order in which a training comes there; each goes on where the one before was killed.
DEATHS = [
    ("while the images are prepared", "training.dataset.examples", "ExampleCache.get", 2, "before"),
    ("while the data set is written", "training.dataset.build", "link_or_copy", 2, "before"),
    ("after the first epoch", "training.finetuning.finetune", "_Run.save_checkpoint", 1, "after"),
    ("while the version is stored", "backend.registry.files", "ModelFiles.store", 1, "after"),
    ("before it is judged", "training.judging", "write_scores", 1, "before"),
    ("before the verdict is written", "training.judging", "write_verdict", 1, "before"),
    ("before it is promoted", "backend.registry.registry", "Registry.promote", 1, "before"),
    ("just after it was promoted", "backend.registry.registry", "Registry.promote", 1, "after"),
]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env=child_environment(Settings()),
        text=True,
        capture_output=True,
        timeout=300,
        check=False,
    )


@contextmanager
def late_door(port: int, *, after_s: float, to: int) -> Iterator[None]:
    """A port that refuses connections at first, and then leads to another."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        # The thread of the other direction closes both ends when it is through.
        with closing(target), suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)

    def open_door() -> None:
        time.sleep(after_s)
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(0.2)
            while not over.is_set():
                try:
                    inside = server.accept()[0]
                except TimeoutError:
                    continue
                outside = socket.create_connection(("127.0.0.1", to))
                for pair in ((inside, outside), (outside, inside)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    over = threading.Event()
    door = threading.Thread(target=open_door)
    door.start()
    try:
        yield
    finally:
        over.set()
        door.join()


def test_a_training_that_dies_at_every_step_ends_as_if_it_had_not(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, registry = workplace.project_id, workplace.registry
    data = Settings().data_dir
    monkeypatch.setenv("TRAIN_EPOCHS", "2")
    before = registry.champion(project_id)
    assert before is not None
    for seed in (1, 3):
        workplace.approve(seed)

    # The disk is full while the weights are written: that is said, and nothing of it stays.
    failed = run(FULL, project_id)
    assert failed.returncode != 0
    assert "The training failed" in workplace.problems.recent(1)[0].text
    assert not (data / "training" / str(project_id)).exists()

    for number, (what, *where) in enumerate(DEATHS):
        died = run(KILLED, project_id, *where)
        assert died.returncode == -signal.SIGKILL, f"{what}:\n{died.stderr[-3000:]}"
        now = registry.champion(project_id)
        assert now is not None, what
        assert (now == before) == (number < len(DEATHS) - 1), what
        load_detector(now, device="cpu")
        if number == 1:
            # What is approved while it runs counts for the next.
            workplace.approve(7)

    # And Label Studio is away as the last begins.
    port = free_port()
    address = Settings().label_studio_url
    monkeypatch.setenv("LABEL_STUDIO_URL", f"http://127.0.0.1:{port}")
    with late_door(port, after_s=4, to=int(address.rsplit(":", 1)[1])):
        made = train(project_id, "test")
    monkeypatch.setenv("LABEL_STUDIO_URL", address)

    after = registry.champion(project_id)
    assert after is not None and after.name == made["version"]
    assert [version.name for version in registry.versions(project_id)] == [before.name, after.name]
    assert after.parent == before.name
    verdict = read_verdict(after)
    assert verdict is not None and verdict.promoted and verdict.champion == before.name
    epochs = read_text(after, "epochs.csv").splitlines()[1:]
    assert [int(float(row.split(",")[0])) for row in epochs] == [1, 2]
    assert json.loads(read_text(after, "dataset.json"))["hash"] == after.dataset
    assert not (data / "training" / str(project_id)).exists()
    left = [path for path in data.rglob(".*") if path.name.startswith(".half")]
    assert not left
    assert check_approvals(project_id) == {"new": 1, "needed": 2}


def test_what_no_event_told_is_found_by_the_clock(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks lost, doubled and late, and Redis wiped: each time the count is right again at the next look."""
    project_id, redis = workplace.project_id, workplace.queues.redis
    sdk = workplace.label_studio.sdk
    monkeypatch.setenv("WEBHOOK_SECRET", "ours")
    for secret in ("ours", "theirs"):
        other = sdk.projects.create(title=f"{secret} {time.time()}")
        sdk.webhooks.create(project=other.id, url="http://127.0.0.1:1/webhook", headers={"X-Drape-Secret": secret})
    first = workplace.approve(SEEDS[0])
    workplace.approve(SEEDS[1])
    for _ in range(2):
        scheduler = timer(redis, every_s=600)
        (due,) = scheduler.enqueue_jobs()
        assert due.func is look_after
        assert not scheduler.enqueue_jobs()
        # This project has a model, the other our webhook; the third is none of ours.
        assert look_after() == {"projects": 2}
        queued = [(job.func_name, job.args) for job in Queue(CHECKS, connection=redis).jobs]
        assert ("training.jobs.check_approvals", (project_id,)) in queued
        assert ("backend.prelabel.jobs.plan", (project_id,)) in queued
        assert look_after() == {"projects": 2}
        assert len(Queue(CHECKS, connection=redis)) == len(queued)
        assert check_approvals(project_id) == {"new": 2, "needed": 2}
        assert len(Queue(TRAIN, connection=redis)) == 1
        redis.flushall()
    sdk.annotations.delete(first)
    assert check_approvals(project_id)["new"] == 1


def test_a_training_is_cancelled(workplace: Workplace) -> None:
    """By the worker itself, in the middle; the model stays, and the next training begins anew."""
    project_id, queues = workplace.project_id, workplace.queues
    for seed in (1, 3):
        workplace.approve(seed)
    assert not queues.cancel_training(project_id)
    assert queues.enqueue_training(project_id, reason="test")
    assert queues.cancel_training(project_id)
    assert not Queue(TRAIN, connection=queues.redis).job_ids
    settings = Settings().model_copy(update={"train_epochs": 500})
    assert queues.enqueue_training(project_id, reason="test")
    command = [sys.executable, "-m", "launcher.cli", "worker", "--queue", TRAIN]
    worker = subprocess.Popen(command, cwd=ROOT, env=child_environment(settings))
    folder = settings.data_dir / "training" / str(project_id)
    try:
        wait_for(lambda: (folder / "run" / "last.pt").is_file(), timeout_s=300)
        (job,) = [Queue(TRAIN, connection=queues.redis).fetch_job(f"train-{project_id}")]
        assert job is not None and job.get_meta()["epochs"] == 500
        ended = run_drape("train", "--project", str(project_id), "--cancel")
        assert f"The training of project {project_id} is cancelled." in ended
        wait_for(lambda: not folder.exists(), timeout_s=300)
        wait_for(lambda: not queues.cancel_training(project_id), timeout_s=300)
    finally:
        worker.terminate()
        worker.wait(30)
    assert [version.origin for version in Registry(settings.models_path).versions(project_id)] == ["starter"]


def run_drape(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "launcher.cli", *arguments],
        cwd=ROOT,
        env=child_environment(Settings()),
        text=True,
        capture_output=True,
        timeout=120,
        check=True,
    )
    return done.stdout
