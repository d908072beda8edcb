"""A training in several processes. Here they compute on the CPU, joined by gloo; everything else is as on GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from backend.errors import ModelError
from backend.settings import Settings
from tests.conftest import ROOT
from tests.support import wait_for
from tests.training.dataset.test_build import approved, build
from tests.training.finetuning.trainers_on_cpu import Endless, OnCpu, OutOfMemory
from training.dataset.build import Dataset
from training.finetuning.finetune import finetune
from training.finetuning.progress import TrainingProgress

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build([approved(seed) for seed in range(300, 308)], tmp_path_factory.mktemp("figures"))


def train(
    dataset: Dataset, starter: Path, folder: Path, report: Callable[[TrainingProgress], None], **given: Any
) -> Any:
    settings = Settings(**{"device": "cpu", "device_train": "cpu,cpu", "train_epochs": 2, "train_batch": 4, **given})
    return finetune(dataset, initial=starter, image_size_px=64, settings=settings, folder=folder, report=report)


def test_two_processes_train_one_model_and_each_epoch_is_told(
    dataset: Dataset, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.finetuning.multi_gpu.MultiGpuTrainer", OnCpu)
    told: list[TrainingProgress] = []
    result = train(dataset, starter, tmp_path / "run", told.append)
    assert [(one.epoch, one.epochs) for one in told] == [(1, 2), (2, 2)]
    assert {"box_loss", "seg_loss"} <= set(told[0].losses)
    assert 0 <= result.metrics["mask_map50"] <= 1 and result.architecture == "yolo11n-seg"
    assert len(result.curves.splitlines()) == 3
    learnt = torch.load(result.weights, weights_only=False)["model"].state_dict()
    before = torch.load(starter, weights_only=False)["model"].state_dict()
    assert any(not torch.equal(tensor, before[name]) for name, tensor in learnt.items() if name in before)


def test_a_training_that_is_interrupted_goes_on_after_its_last_whole_epoch(
    dataset: Dataset, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.finetuning.multi_gpu.MultiGpuTrainer", Endless)

    def interrupt(progress: TrainingProgress) -> None:
        # As RQ's time limit, which ends what the job's own thread does.
        raise KeyboardInterrupt

    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(KeyboardInterrupt):
        train(dataset, starter, tmp_path / "run", interrupt, train_epochs=4)
    assert set(psutil.Process().children(recursive=True)) <= before
    monkeypatch.setattr("training.finetuning.multi_gpu.MultiGpuTrainer", OnCpu)
    told: list[TrainingProgress] = []
    result = train(dataset, starter, tmp_path / "run", told.append, train_epochs=4)
    epochs = [one.epoch for one in told]
    assert 1 < epochs[0] and epochs == list(range(epochs[0], 5))
    assert len(result.curves.splitlines()) == 5


def test_memory_that_is_too_small_in_one_process_halves_the_batch(
    dataset: Dataset, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("training.finetuning.multi_gpu.MultiGpuTrainer", OutOfMemory)
    told: list[TrainingProgress] = []
    train(dataset, starter, tmp_path / "run", told.append, train_epochs=1)
    assert "continues with TRAIN_BATCH=2" in caplog.text and len(told) == 1


def test_fewer_images_than_gpus_are_refused(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="TRAIN_BATCH=1 is too small for 2 GPUs"):
        train(dataset, starter, tmp_path / "run", lambda progress: None, train_batch=1)


LONG = """
import json, sys
from pathlib import Path
import training.finetuning.multi_gpu
from tests.training.finetuning.test_multi_gpu import train
from tests.training.finetuning.trainers_on_cpu import OnCpu
from training.dataset.build import Dataset
from training.dataset.manifest import read_manifest

training.finetuning.multi_gpu.MultiGpuTrainer = OnCpu
data, starter, folder = map(Path, sys.argv[1:4])
dataset = Dataset(data, read_manifest(json.loads((data.parent / "manifest.json").read_text())))
train(dataset, starter, folder, lambda progress: None, train_epochs=900)
"""


def test_a_training_that_is_ended_leaves_no_process_behind(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    """As RQ ends a job: its process group is killed, of which those that train are no part."""
    command = [sys.executable, "-c", LONG, *map(str, (dataset.data_yaml, starter, tmp_path / "run"))]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    family: list[psutil.Process] = []
    try:
        wait_for(lambda: (tmp_path / "run" / "told.jsonl").is_file())
        family = psutil.Process(process.pid).children(recursive=True)
        assert len({os.getsid(one.pid) for one in family}) == 3
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(
            lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family), timeout_s=180
        )
    finally:
        process.kill()
        process.wait()
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
