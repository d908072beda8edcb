"""What Drape computes with leaves nothing in the home of who runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from launcher.stack.supervisor import free_port
from tests.conftest import ROOT

DRAPE = [sys.executable, "-m", "launcher.cli"]
# A training, an export to OpenVINO, and both kinds of detector, after what every command does first.
COMPUTE = """
import sys
from pathlib import Path
from launcher.cli import keep_home_clean
keep_home_clean()
from backend.detector.detector_pool import DetectorPool
from backend.detector.preparation import read_preparation
from backend.detector.prepare import prepare
from backend.domain import Image
from backend.registry.registry import Registry
from backend.settings import Settings
from label_studio_config.demo.figures import LABELS, draw_figure
from tests.training.dataset.test_build import approved, build
from training.finetuning.finetune import finetune

folder, starter = map(Path, sys.argv[1:])
dataset = build([approved(seed) for seed in range(300, 304)], folder / "set")
settings = Settings(train_epochs=1, train_batch=2, device="cpu", yolo11_base="not-there.pt")
run = finetune(
    dataset, initial=starter, image_size_px=64, settings=settings, folder=folder / "run", report=lambda _: None
)
registry = Registry(folder / "models")
version = registry.add(
    1, weights=run.weights, classes=LABELS, parent=None, metrics={}, annotations={}, image_size_px=64, origin="training"
)
registry.promote(1, version.name)
image, detectors = Image(draw_figure(3).pixels, "key", "s"), DetectorPool(registry, settings)
list(detectors.for_project(1).detector.detect([image], min_score=0.25))
prepare(version, [image], device="cpu")
assert read_preparation(version) is not None
list(detectors.for_project(1).detector.detect([image], min_score=0.25))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(home: Path, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "DATA_DIR": str(tmp_path / "data"),
        "SEGMENTER": "builtin",
    }


@pytest.mark.slow
def test_a_training_and_a_detector_write_nothing_into_the_home(
    home: Path, environment: dict[str, str], starter: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", COMPUTE, str(tmp_path / "work"), str(starter)]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Ultralytics Settings" not in result.stdout + result.stderr
    assert list(home.rglob("*")) == []
    assert (tmp_path / "data" / "Ultralytics" / "settings.json").is_file()


@pytest.mark.slow
def test_the_backend_writes_nothing_into_the_home(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    backend = subprocess.Popen([*DRAPE, "serve", "--port", str(port)], env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"http://127.0.0.1:{port}/live"):
            assert backend.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        backend.terminate()
        backend.wait()
    assert list(home.rglob("*")) == []


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:
        return False
