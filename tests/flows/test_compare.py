"""`drape compare` on a real Label Studio, Redis and worker, which dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.queues.comparisons import Comparisons
from backend.queues.queues import TRAIN
from backend.settings import Settings
from launcher.stack.stack import child_environment
from tests.conftest import ROOT
from tests.support import wait_for
from tests.training.conftest import SEEDS, Workplace
from training.students.page import HTML, JSON, MARKDOWN
from training.students.project import comparison_folder, weights_folder

pytestmark = [pytest.mark.services, pytest.mark.long, pytest.mark.timeout(900)]

STUDENTS = ("unet-mobilenetv2", "yolo11n", "yolo11n-garments")
EPOCHS = 12


def drape(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher.cli", *arguments],
        cwd=ROOT,
        env=child_environment(Settings()),
        text=True,
        capture_output=True,
        timeout=600,
        check=False,
    )


@contextmanager
def worker(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of trainings with its job in one group of processes."""
    with log.open("wb") as file:
        command = [sys.executable, "-m", "launcher.cli", "worker", "--queue", TRAIN]
        process = subprocess.Popen(
            command, cwd=ROOT, env=child_environment(Settings()), stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def test_students_are_compared_though_a_worker_dies_and_one_of_them_fails(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So soon its job is given to another worker.
    monkeypatch.setenv("WORKER_LOST_AFTER_S", "12")
    project_id, settings = workplace.project_id, Settings()
    for seed in SEEDS:
        workplace.approve(seed)
    weights_folder(settings).mkdir(parents=True)
    (weights_folder(settings) / "yolo11n-seg.pt").write_bytes(b"damaged")
    options = ["--epochs", str(EPOCHS), "--side", "64", "--no-download"]
    asked = ["compare", "--project", str(project_id), "--students", ",".join(STUDENTS), *options]
    assert "3 students are queued." in drape(*asked, "--no-wait").stdout

    folder = comparison_folder(settings, project_id)
    first_log, second_log = tmp_path / "first.log", tmp_path / "second.log"
    with worker(first_log) as dying:
        checkpoint = folder / STUDENTS[0] / "work" / "checkpoint.pt"
        wait_for(checkpoint.is_file, timeout_s=300, what="no checkpoint was written")
        (job,) = Comparisons(workplace.queues.redis, project_id).state(STUDENTS[:1])
        assert job.is_running
        horses = subprocess.run(["ps", "-o", "pid=", "--ppid", str(dying.pid)], capture_output=True, text=True).stdout
        for pid in (dying.pid, *map(int, horses.split())):
            os.kill(pid, signal.SIGKILL)
        dying.wait(30)
    with worker(second_log):
        # It goes on with the jobs that are there, and waits for them.
        done = drape(*asked)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The weights" in done.stdout and "yolo11n-seg.pt do not load" in " ".join(done.stdout.split())
    assert "The training resumes after" in second_log.read_text()

    facts = json.loads((folder / JSON).read_text())
    assert [one["name"] for one in facts["students"]] == [STUDENTS[0], STUDENTS[2]]
    assert all(one["epochs"] == EPOCHS for one in facts["students"])
    assert (facts["train_images"], facts["judge_images"], facts["image_size_px"]) == (2, 1, 64)
    assert list(facts["failures"]) == ["yolo11n"]
    assert "mask mAP50-95" in done.stdout and str(folder / HTML) in done.stdout
    assert (folder / MARKDOWN).is_file() and "data:image/jpeg;base64," in (folder / HTML).read_text()

    # Without the damaged file it begins at random; the others are not trained again.
    (weights_folder(settings) / "yolo11n-seg.pt").unlink()
    before = {name: (folder / name / "result.json").stat().st_mtime_ns for name in (STUDENTS[0], STUDENTS[2])}
    with worker(tmp_path / "third.log"):
        again = drape(*asked)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {name: (folder / name / "result.json").stat().st_mtime_ns for name in before} == before
    assert [one["name"] for one in json.loads((folder / JSON).read_text())["students"]] == list(STUDENTS)
    # No version is made of them before somebody asks for it. Every challenger is promoted here.
    assert [version.origin for version in workplace.registry.versions(project_id)] == ["starter"]
    added = drape("models", "add", STUDENTS[2], "--project", str(project_id))
    assert added.returncode == 0 and "Promoted." in added.stdout, added.stdout + added.stderr
    refused = drape("models", "add", STUDENTS[0], "--project", str(project_id))
    said = " ".join((refused.stdout + refused.stderr).split())
    assert refused.returncode == 1 and "names none of the project's labels" in said
    assert [version.origin for version in workplace.registry.versions(project_id)] == ["starter", "comparison"]
