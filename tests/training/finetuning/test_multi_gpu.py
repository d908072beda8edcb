"""A training in several processes. Here they compute on the CPU, joined by gloo; everything else is as on GPUs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import distributed, nn
from ultralytics.utils import LOCAL_RANK, RANK
from ultralytics.utils.torch_utils import strip_optimizer

from backend.errors import ModelError
from backend.settings import Settings
from tests.conftest import ROOT
from tests.training.dataset.test_build import approved, build
from training.dataset.build import Dataset
from training.finetuning.finetune import finetune
from training.finetuning.multi_gpu import MultiGpuTrainer
from training.finetuning.progress import TrainingProgress

pytestmark = pytest.mark.slow


class OnCpu(MultiGpuTrainer):
    """Ultralytics offers no second process on a CPU: here it is told of two, and joins them by gloo."""

    def __init__(self, *given: Any, overrides: dict[str, Any], **named: Any) -> None:
        super().__init__(*given, overrides={**overrides, "device": "cpu"}, **named)
        self.world_size, self.ddp = 2, LOCAL_RANK == -1

    def _setup_ddp(self) -> None:
        distributed.init_process_group("gloo", rank=RANK, world_size=2)

    def _setup_train(self) -> None:
        whole = nn.parallel.DistributedDataParallel

        def joined(model: nn.Module, *, device_ids: Any, **named: Any) -> nn.Module:
            return whole(model, **named)

        nn.parallel.DistributedDataParallel = joined  # type: ignore[assignment, misc]
        super()._setup_train()

    def final_eval(self) -> None:
        # Without its last look at the held-out images, before which it asks CUDA where it is.
        if RANK == 0:
            strip_optimizer(self.best)


class OutOfMemory(OnCpu):
    """Fails in one of its processes as a GPU does, while more than two images are asked for."""

    def _setup_train(self) -> None:
        super()._setup_train()
        if RANK == 1 and self.batch_size > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")


class Endless(OnCpu):
    """Its fourth epoch does not end by itself."""

    def _setup_train(self) -> None:
        super()._setup_train()
        self.add_callback("on_train_epoch_start", lambda trainer: time.sleep(600) if trainer.epoch == 3 else None)


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
        train(dataset, starter, tmp_path / "run", interrupt, train_epochs=6)
    assert set(psutil.Process().children(recursive=True)) <= before
    monkeypatch.setattr("training.finetuning.multi_gpu.MultiGpuTrainer", OnCpu)
    told: list[TrainingProgress] = []
    result = train(dataset, starter, tmp_path / "run", told.append, train_epochs=6)
    epochs = [one.epoch for one in told]
    assert 1 < epochs[0] and epochs == list(range(epochs[0], 7))
    assert len(result.curves.splitlines()) == 7


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
from tests.training.finetuning.test_multi_gpu import OnCpu, train
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
        wait_for(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family))
    finally:
        process.kill()
        process.wait()
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 180
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.2)
