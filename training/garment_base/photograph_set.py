"""Reads annotated photographs, writes data sets of them, and loads what was trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import yaml

from backend.detector.runtimes.network import load_network
from backend.detector.runtimes.torch_runtime import TorchRuntime
from backend.detector.yolo11 import Detector
from backend.label_studio.label_config import LabelConfig
from backend.settings import Settings
from training.data_in.class_mapping import ClassMapping
from training.data_in.evaluation_set import evaluation_images
from training.data_in.formats.detect import ReadOptions, open_set
from training.dataset.build import Dataset
from training.dataset.examples import encode_jpeg, outline_text
from training.dataset.manifest import DatasetManifest, Entry
from training.dataset.split import Side
from training.evaluation.held_out import HeldOut


def read_photographs(path: Path, config: LabelConfig, *, side_px: int, folder: Path, first: int = 0) -> list[HeldOut]:
    """Returns the photographs from number `first` on, counted from 0, in the order of their set.

    Args:
        path: a set in any format that `drape import` reads.
        side_px: larger photographs are reduced until their longer side has this many pixels.
        folder: where their pixels are stored; each use of a photograph reads them there.

    Raises:
        DatasetError: the set is missing or damaged.
    """
    _, source = open_set([str(path)], None, ReadOptions())
    source = replace(source, images=islice(source.images, first, None))
    return list(evaluation_images(source, config, ClassMapping(config), Settings(), side_px=side_px, folder=folder))


def load_weights(weights: Path, *, image_size_px: int) -> Detector:
    """Returns the detector of a `.pt` file, on the CPU.

    Raises:
        ModelError: the weights do not load.
    """
    network, classes = load_network(weights)
    return Detector(TorchRuntime(network, device="cpu"), classes=classes, image_size_px=image_size_px)


def write_dataset(
    train: Sequence[HeldOut], judge: Sequence[HeldOut], labels: Sequence[str], folder: Path, *, image_size_px: int
) -> Dataset:
    """Writes a YOLO data set with the classes `labels` that trains on `train` and is validated on `judge`."""
    classes = tuple(labels)
    entries = [*_write_side("train", train, classes, folder), *_write_side("val", judge, classes, folder)]
    data_yaml = folder / "data.yaml"
    layout = {"train": "images/train", "val": "images/val", "names": dict(enumerate(classes))}
    data_yaml.write_text(yaml.safe_dump(layout, sort_keys=False))
    return Dataset(data_yaml, DatasetManifest(classes, image_size_px, tuple(entries)))


def _write_side(side: Side, photographs: Iterable[HeldOut], classes: tuple[str, ...], folder: Path) -> Iterable[Entry]:
    images, labels = folder / "images" / side, folder / "labels" / side
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for photograph in photographs:
        name = f"{photograph.task_id:06}"
        (images / f"{name}.jpg").write_bytes(encode_jpeg(photograph.image.pixels))
        garments = list(photograph.truth)
        text = "".join(f"{classes.index(garment.label)} {outline_text(garment)}\n" for garment in garments)
        (labels / f"{name}.txt").write_text(text)
        yield Entry(
            annotation_id=photograph.annotation_id,
            task_id=photograph.task_id,
            content_hash="",
            image_key=photograph.image.key,
            hashes=(),
            side=side,
            disagreed=None,
            weight=1.0,
            copies=1,
            labels=tuple(garment.label for garment in garments),
            lines_sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
