from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.detector.starter import STARTER
from backend.errors import ModelError
from backend.settings import Settings
from tests.conftest import ROOT
from tests.training.dataset.test_build import approved, build
from training.dataset.build import Dataset
from training.finetuning.finetune import Trained, finetune
from training.finetuning.progress import TrainingProgress

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return build([approved(seed) for seed in range(300, 308)], tmp_path_factory.mktemp("figures"))


def settings(**given: Any) -> Settings:
    return Settings(**{"train_epochs": 2, "train_batch": 3, "device": "cpu", "yolo11_base": "not-there.pt", **given})


def trained(
    dataset: Dataset, folder: Path, initial: Path | None, **given: Any
) -> tuple[Trained, list[TrainingProgress]]:
    told: list[TrainingProgress] = []
    result = finetune(
        dataset, initial=initial, image_size_px=64, settings=settings(**given), folder=folder, report=told.append
    )
    return result, told


def weights(path: Path) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = torch.load(path, weights_only=False)["model"].state_dict()
    return tensors


def test_the_starter_goes_on_learning_and_tells_how_far_it_is(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    result, told = trained(dataset, tmp_path / "run", starter)
    assert result.weights.stat().st_size < 8_000_000
    assert result.architecture == "yolo11n-seg"
    assert [(one.epoch, one.epochs) for one in told] == [(1, 2), (2, 2)]
    assert told[0].seconds_left > 0
    assert told[1].seconds_left == 0
    assert {"box_loss", "seg_loss"} <= set(told[0].losses)
    assert 0 <= result.metrics["mask_map50"] <= 1
    assert len(result.curves.splitlines()) == 3
    # Asked again, as by a worker whose first was killed just afterwards, it is there already.
    again, told = trained(dataset, tmp_path / "run", starter)
    assert (again, told) == (result, [])


def test_the_statistics_of_many_images_stay(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    before, after = weights(starter), weights(trained(dataset, tmp_path / "run", starter)[0].weights)
    statistics = [name for name in after if name.endswith(("running_mean", "running_var"))]
    assert len(statistics) > 100
    assert all(torch.allclose(before[name], after[name], rtol=0.01) for name in statistics)
    # The last layers before the masks are never frozen.
    learned = "model.23.proto.cv3.conv.weight"
    assert not torch.equal(before[learned], after[learned])


def test_the_same_twice_gives_the_same_model(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    one, other = (trained(dataset, tmp_path / name, starter)[0] for name in ("one", "other"))
    tensors = weights(one.weights)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in weights(other.weights).items())
    assert one.metrics == other.metrics


def test_the_held_out_images_choose_no_epoch(
    dataset: Dataset, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.models.yolo.segment import SegmentationTrainer

    def worse_each_epoch(self: Any) -> tuple[dict[str, float], float]:
        metrics, _ = original(self)
        return metrics, 1 / (self.epoch + 1)

    original = SegmentationTrainer.validate
    monkeypatch.setattr(SegmentationTrainer, "validate", worse_each_epoch)
    result, _ = trained(dataset, tmp_path / "run", starter)
    last = torch.load(tmp_path / "run" / "last.pt", weights_only=False)
    averaged = last["ema"].state_dict()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in weights(result.weights).items())
    assert result.metrics["mask_map50_95"] == pytest.approx(last["train_metrics"]["metrics/mAP50-95(M)"], abs=1e-4)


KILLED = """
import json, sys, time
from pathlib import Path
from backend.settings import Settings
from training.dataset.build import Dataset
from training.finetuning.finetune import finetune
from training.dataset.manifest import read_manifest

data, starter, folder, told = map(Path, sys.argv[1:5])
dataset = Dataset(data, read_manifest(json.loads((data.parent / "manifest.json").read_text())))
settings = Settings.model_validate_json(sys.argv[5])
def report(progress):
    with told.open("a") as file:
        file.write(f"{progress.epoch}\\n")
    if progress.epoch == 3:
        # Not over before it is killed, however late that comes.
        time.sleep(600)
finetune(dataset, initial=starter, image_size_px=64, settings=settings, folder=folder, report=report)
"""


def test_killed_it_goes_on_where_it_was(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    folder, told = tmp_path / "run", tmp_path / "told"
    arguments = [dataset.data_yaml, starter, folder, told, settings(train_epochs=5).model_dump_json()]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, *map(str, arguments)], env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not told.is_file() or len(told.read_text().split()) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    before = [int(epoch) for epoch in told.read_text().split()]
    assert before[-1] < 5, "it was over before it was killed"
    # What Ultralytics was writing may be broken; what is kept beside it is not.
    for name in ("last.pt", "best.pt"):
        (folder / "run" / "weights" / name).write_bytes(b"half")
    # Its table may be ahead of them.
    with (folder / "run" / "results.csv").open("a") as table:
        table.write("4,0.1,0.2\n5,0.3")
    result, after = trained(dataset, folder, starter, train_epochs=5)
    assert after[0].epoch in (before[-1], before[-1] + 1)
    assert after[-1].epoch == 5
    assert [int(row.split(",")[0]) for row in result.curves.splitlines()[1:]] == list(range(1, 6))
    assert weights(result.weights)


def test_of_other_labels_it_begins_anew(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    trained(dataset, tmp_path / "run", starter, train_epochs=1)
    other = build([approved(seed) for seed in range(300, 307)], tmp_path)
    result, told = trained(other, tmp_path / "run", starter, train_epochs=1)
    assert len(told) == 1 and result.weights.is_file()


def test_with_too_little_memory_the_batch_is_halved(
    dataset: Dataset, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.models.yolo.segment import SegmentationTrainer

    sizes: list[int] = []

    def preprocess(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        sizes.append(len(batch["img"]))
        if self.batch_size > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 PB")
        return original(self, batch)

    original = SegmentationTrainer.preprocess_batch
    monkeypatch.setattr(SegmentationTrainer, "preprocess_batch", preprocess)
    result, told = trained(dataset, tmp_path / "run", starter, train_epochs=1, train_batch=4)
    assert sizes[:3] == [4, 2, 1]
    assert len(told) == 1 and result.weights.is_file()


def test_a_failure_leaves_nothing_to_go_on_from(
    dataset: Dataset, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ultralytics.models.yolo.segment import SegmentationTrainer

    def full(self: Any) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SegmentationTrainer, "save_model", full)
    with pytest.raises(ModelError, match="No space left on device"):
        trained(dataset, tmp_path / "run", starter, train_epochs=1)
    assert not (tmp_path / "run").exists()


def test_its_time_is_limited(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    result, told = trained(dataset, tmp_path / "run", starter, train_epochs=50, train_max_minutes=0.001)
    assert len(told) == 1
    assert result.weights.is_file()


def test_without_base_weights_it_begins_from_the_starter_and_says_so(
    dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result, _ = trained(dataset, tmp_path / "run", None, train_epochs=1)
    assert result.weights.is_file()
    assert "starts from Drape's own base for garments" in caplog.text and "YOLO11_BASE" in caplog.text
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["initial"] == str(STARTER) and "freeze" not in run["args"]


def test_weights_of_a_champion_that_do_not_load_are_said(dataset: Dataset, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"broken\.pt do not load"):
        trained(dataset, tmp_path / "run", broken)
