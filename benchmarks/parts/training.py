"""An epoch of fine-tuning YOLO11n-seg on the CPU: `make bench ONLY=training`.

Drape's training, which computes in bfloat16 where the processor does, against Ultralytics' own call, over the same
drawn figures, whole epochs with their validation. The first epoch of each does not count.
"""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from backend.compute.quiet_ultralytics import load_yolo
from backend.detector.starter import STARTER
from backend.label_studio.label_config import parse_label_config
from backend.settings import Settings
from benchmarks.table import Row, Timing, faster
from label_studio_config.demo.write import write_yolo_dataset
from label_studio_config.palette_xml import GARMENTS, palette
from training.dataset.build import Dataset
from training.finetuning.finetune import finetune
from training.garment_base.photograph_set import read_photographs, write_dataset

IMAGES, JUDGED, IMAGE_SIZE_PX, EPOCHS, BATCH = 64, 4, 320, 6, 8


def measure() -> list[Row]:
    """Seconds of an epoch, each way twice in turn."""
    with tempfile.TemporaryDirectory() as name:
        dataset = _dataset(Path(name))
        ours: list[float] = []
        plain: list[float] = []
        for number in range(2):
            ours += _ours(dataset, Path(name) / f"ours-{number}")
            plain += _plain(dataset, Path(name) / f"plain-{number}")
    title = f"an epoch of {IMAGES} images at {IMAGE_SIZE_PX} pixels, YOLO11n-seg: Drape / Ultralytics' own training"
    return [faster(title, _timing(ours), _timing(plain))]


def _dataset(folder: Path) -> Dataset:
    drawn = write_yolo_dataset(folder / "drawn", train_seeds=range(IMAGES), val_seeds=range(IMAGES, IMAGES + JUDGED))
    config = parse_label_config(palette(GARMENTS))
    found = read_photographs(drawn.parent, config, side_px=IMAGE_SIZE_PX, folder=folder / "pixels")
    return write_dataset(
        found[:IMAGES], found[IMAGES:], config.label_values, folder / "set", image_size_px=IMAGE_SIZE_PX
    )


def _ours(dataset: Dataset, folder: Path) -> list[float]:
    ends: list[float] = []
    finetune(
        dataset,
        initial=STARTER,
        image_size_px=IMAGE_SIZE_PX,
        settings=Settings(train_epochs=EPOCHS, train_batch=BATCH, device="cpu"),
        folder=folder,
        report=lambda _: ends.append(time.monotonic()),
    )
    return _between(ends)


def _plain(dataset: Dataset, folder: Path) -> list[float]:
    ends: list[float] = []
    model = load_yolo(str(STARTER))

    def after_epoch(_: Any) -> None:
        ends.append(time.monotonic())

    model.add_callback("on_model_save", after_epoch)
    model.train(
        data=str(dataset.data_yaml),
        epochs=EPOCHS,
        imgsz=IMAGE_SIZE_PX,
        batch=BATCH,
        device="cpu",
        project=str(folder.parent),
        name=folder.name,
        plots=False,
        verbose=False,
    )
    return _between(ends)


def _between(ends: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(ends)]


def _timing(seconds: list[float]) -> Timing:
    return Timing(float(np.median(seconds)), float(np.percentile(seconds, 95)), len(seconds))
