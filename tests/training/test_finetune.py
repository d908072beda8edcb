from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import ModelError
from backend.settings import Settings
from label_studio_config.demo.write import write_yolo_dataset
from tests.training.test_dataset import CONFIG
from training.dataset import Dataset
from training.finetune import Progress, finetune


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("figures")
    data = write_yolo_dataset(folder, train_seeds=range(300, 306), val_seeds=range(306, 308))
    return Dataset(data, CONFIG.label_values, train_images=6, val_images=2, instances=20)


SETTINGS = Settings(train_epochs=2, train_batch=3, device="cpu", base_weights="not-there-seg.pt")


def test_the_starter_goes_on_learning_and_tells_how_far_it_is(dataset: Dataset, starter: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    trained = finetune(
        dataset, initial=starter, image_size_px=96, settings=SETTINGS, folder=tmp_path / "run", report=told.append
    )
    assert trained.weights.stat().st_size < 8_000_000
    assert [(one.epoch, one.epochs) for one in told][:2] == [(1, 2), (2, 2)]
    assert told[0].seconds_left > 0
    assert told[1].seconds_left == 0
    assert {"box_loss", "seg_loss"} <= set(told[0].losses)
    assert 0 <= trained.metrics["mask_map50"] <= 1


def test_weights_of_a_champion_that_do_not_load_are_said(dataset: Dataset, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pt"
    broken.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="do not load"):
        finetune(
            dataset, initial=broken, image_size_px=64, settings=SETTINGS, folder=tmp_path / "run", report=lambda _: None
        )
