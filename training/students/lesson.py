"""The images that all students learn from, and those that judge them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backend.connections import Connections
from backend.domain import Image
from backend.errors import DatasetError
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.payloads import Task
from training.annotations.approvals import Approved
from training.annotations.count import approval_counter
from training.annotations.stored_regions import forget, keep, kept
from training.dataset.build import Dataset, build_dataset
from training.dataset.manifest import DatasetManifest, latest_manifest, read_manifest
from training.evaluation.held_out import HeldOut, held_out_images
from training.garment_base.photograph_set import write_dataset

# The folder of a project's split, below that of its comparison.
SPLIT = "split"


@dataclass(frozen=True)
class Lesson:
    """What every student learns from, once an epoch, and is judged on.

    Attributes:
        train, judge: images, no larger than `image_size_px`, with their ground truth.
        dataset: the same images as a YOLO data set: those that judge are its validation set.
    """

    train: Sequence[HeldOut]
    judge: Sequence[HeldOut]
    labels: tuple[str, ...]
    image_size_px: int
    dataset: Dataset

    @property
    def digest(self) -> str:
        """SHA-256, 64 hex digits, of images, labels and size."""
        return self.dataset.manifest.digest


def lesson_of(
    train: Sequence[HeldOut], judge: Sequence[HeldOut], labels: Sequence[str], folder: Path, *, image_size_px: int
) -> Lesson:
    """Returns the lesson of these images, whose YOLO data set is written to `folder` anew.

    Raises:
        DatasetError: there is none to learn from, or none that judges.
    """
    if not train or not judge:
        raise DatasetError(
            f"A comparison needs images to learn from and images to judge on; there are {len(train)} and {len(judge)}. "
            "Approve more annotations."
        )
    shutil.rmtree(folder, ignore_errors=True)
    dataset = write_dataset(train, judge, labels, folder, image_size_px=image_size_px)
    return Lesson(train, judge, tuple(labels), image_size_px, dataset)


def project_lesson(connections: Connections, project_id: int, folder: Path, *, image_size_px: int) -> Lesson:
    """Returns the lesson of a project's approved annotations, as its next training would split them.

    What is approved when the first student begins counts for all: it is kept in `folder`. Annotations that a model
    accepted do not judge.

    Raises:
        DatasetError: too few approved annotations.
        LabelStudioError: Label Studio is unreachable.
        StorageError: the pixels cannot be stored.
    """
    approved = kept(folder)
    if approved is None:
        approved = keep(approval_counter(connections, project_id).update().approved, folder)
    try:
        return _split(connections, project_id, approved, folder, image_size_px=image_size_px)
    except DatasetError:
        # Too few: a later call counts what is approved by then.
        forget(folder)
        raise


def _split(
    connections: Connections, project_id: int, approved: Sequence[Approved], folder: Path, *, image_size_px: int
) -> Lesson:
    config = parse_label_config(connections.label_studio.project(project_id).label_config)
    images = ImageStore(connections.settings, bearer=connections.label_studio.bearer)

    def load(annotation: Approved) -> Image:
        return load_image(images, Task(id=annotation.task_id, data=annotation.data), config, side_px=image_size_px)

    split = build_dataset(
        approved,
        config,
        folder=folder / SPLIT,
        load=load,
        image_size_px=image_size_px,
        # A training between two students must not move images from one side to the other.
        earlier=begun_with(folder) or latest_manifest(connections.registry, project_id),
        split_by=connections.settings.split_by,
    )
    read = partial(_read, config=config, images=images, side_px=image_size_px, folder=folder / "pixels")
    trained = {entry.annotation_id for entry in split.manifest.entries if entry.side == "train"}
    return lesson_of(
        read([annotation for annotation in approved if annotation.annotation_id in trained]),
        read([annotation for annotation in split.held_out if annotation.by_person]),
        config.label_values,
        folder / "set",
        image_size_px=image_size_px,
    )


def begun_with(folder: Path) -> DatasetManifest | None:
    """Returns the manifest of the lesson that a comparison began with; None before it began."""
    path = folder / SPLIT / "manifest.json"
    return read_manifest(json.loads(path.read_text())) if path.is_file() else None


def _read(
    approved: Sequence[Approved], *, config: LabelConfig, images: ImageStore, side_px: int, folder: Path
) -> list[HeldOut]:
    return list(held_out_images(approved, config, images, side_px=side_px, folder=folder))
