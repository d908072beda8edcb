from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.detector.starter import STARTER
from backend.domain import Image, LabelledMask, Outlining
from backend.errors import ModelError
from backend.label_studio.label_config import parse_label_config
from backend.regions.content_hash import content_hash
from backend.regions.encode import encode
from backend.settings import Settings
from label_studio_config.demo.figures import LABELS, PARTS, draw_figure
from label_studio_config.palette_xml import palette
from tests.support import iou
from training.annotations.approvals import Approved
from training.dataset.build import Dataset, build_dataset
from training.finetuning.ultralytics_args import training_args

# A saree with its pallu and border, a kurta with a dupatta over it.
LAYERED_SEEDS = (211, 206)
SIDE_PX = 256


def args(tmp_path: Path, data: Path | None = None, **given: Any) -> dict[str, Any]:
    return training_args(
        Settings(**{"train_batch": 3, "device": "cpu", "_env_file": None, **given}),
        data=data or tmp_path / "data.yaml",
        image_size_px=SIDE_PX,
        folder=tmp_path / "run",
        drawn=8,
        classes=len(LABELS),
    )


def layered_dataset(folder: Path) -> Dataset:
    """The layers of figures as an annotator draws them, each whole."""
    config = parse_label_config(palette((*LABELS, *PARTS)))

    def approved(seed: int) -> Approved:
        result = [
            region
            for layer in draw_figure(seed).layers
            for region in encode(
                LabelledMask(layer.mask, layer.label), config, outlining=Outlining(), model_version="person"
            )
        ]
        return Approved(seed, seed, {}, result, content_hash(result))

    def load(one: Approved) -> Image:
        pixels = draw_figure(one.task_id).pixels
        share = SIDE_PX / max(pixels.shape[:2])
        return Image(cv2.resize(pixels, None, fx=share, fy=share), f"{one.task_id:064x}", "s")

    return build_dataset(
        [approved(seed) for seed in LAYERED_SEEDS], config, folder=folder / "set", load=load, image_size_px=SIDE_PX
    )


@pytest.mark.slow
@pytest.mark.parametrize("image", [0, 1])
def test_layers_keep_their_pixels_in_training_and_in_ultralytics_own_evaluation(image: int, tmp_path: Path) -> None:
    from ultralytics.models.yolo.segment import SegmentationTrainer
    from ultralytics.utils.ops import process_mask

    data = layered_dataset(tmp_path).data_yaml
    trainer = SegmentationTrainer(overrides={**args(tmp_path, data), "device": "cpu", "model": "yolo11n-seg.yaml"})
    trainer.model = quiet_ultralytics().YOLO(STARTER).model
    trainer.test_loader = None
    # In "val" mode the picture is not changed at random; the targets are made by the same code.
    images = trainer.build_dataset(str(data.parent / "train.txt"), mode="val", batch=1)
    validator = trainer.get_validator()
    validator.device = trainer.device
    validator.process = process_mask

    def target(labels: dict[str, Any]) -> Any:
        images.labels[image] = labels
        sample = images[image]
        evaluated = validator._prepare_batch(0, images.collate_fn([sample]))["masks"].numpy() > 0
        assert np.array_equal(evaluated, sample["masks"].numpy() > 0)
        return evaluated

    layers = images.labels[image]
    together = target(layers)
    assert len(together) >= 3
    for number, mask in enumerate(together):
        rows = slice(number, number + 1)
        (alone,) = target({**layers, **{name: layers[name][rows] for name in ("cls", "bboxes", "segments")}})
        assert iou(mask, alone) == 1.0


def test_every_argument_of_ultralytics_is_open(tmp_path: Path) -> None:
    found = args(tmp_path, train_epochs=2, train_args="lr0=0.002 mosaic=0 cos_lr=True freeze=[0,1] amp=True")
    chosen = {"lr0": 0.002, "mosaic": 0, "cos_lr": True, "freeze": [0, 1], "optimizer": "AdamW", "amp": True}
    assert chosen.items() <= found.items()
    assert found["epochs"] == 2


def test_another_optimiser_comes_with_its_own_learning_rate(tmp_path: Path) -> None:
    found = args(tmp_path, train_args="optimizer=SGD")
    assert found["optimizer"] == "SGD" and "lr0" not in found


def test_the_optimiser_is_what_ultralytics_chooses_for_a_short_training(tmp_path: Path) -> None:
    """Asked of Ultralytics itself, which sets its choice in its arguments."""
    import torch
    from ultralytics.models.yolo.segment import SegmentationTrainer

    trainer = SegmentationTrainer.__new__(SegmentationTrainer)
    trainer.args = type("Args", (), {"optimizer": "auto", "lr0": 0.01, "warmup_bias_lr": 0.1})()
    trainer.data = {"nc": len(LABELS)}
    optimizer = trainer.build_optimizer(torch.nn.Linear(2, 2), name="auto", iterations=3780)
    found = args(tmp_path)
    assert found["optimizer"] == type(optimizer).__name__ == trainer.args.optimizer
    assert (found["lr0"], found["warmup_bias_lr"]) == (trainer.args.lr0, trainer.args.warmup_bias_lr)
    assert found["momentum"] == optimizer.param_groups[0]["betas"][0]


WRONG = [
    ("lr=0.1", "'lr' is not a valid YOLO argument"),
    ("mosaic=often", "mosaic"),
    ("mosaic", "cannot be read"),
    ("epochs=3", "set TRAIN_UPDATES instead"),
    ("project=/elsewhere", "Drape sets it"),
    ("overlap_mask=True", "Drape sets it"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_ultralytics_does_not_know_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        args(tmp_path, train_args=text)
