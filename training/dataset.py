"""Approved annotations → a YOLO segmentation data set on disk."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import yaml

from backend.domain import Image, LabelledMask
from backend.errors import DatasetError, ImageError
from backend.label_config import LabelConfig
from backend.polygons import joined_outline
from backend.regions import decode
from training.approvals import Approved

logger = logging.getLogger(__name__)

VAL_SHARE = 0.2
OUTLINE_TOLERANCE_PX = 1.0
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Example:
    """One image with its garments as YOLO label lines; `key` is the SHA-256 of the image file's bytes."""

    approved: Approved
    image: Image
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """What was built.

    Attributes:
        data_yaml: the file that Ultralytics trains from.
        learnt: annotation id → content hash of what is in it or was left out as unusable: none of it counts as new.
        left_out: a sentence for each annotation or region that is not in it.
        held_out: what is validated on and never trained on.
    """

    data_yaml: Path
    classes: tuple[str, ...]
    train_images: int
    val_images: int
    instances: int
    learnt: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    held_out: tuple[Approved, ...] = ()


def build_dataset(
    approved: Sequence[Approved], config: LabelConfig, *, folder: Path, load: Callable[[Approved], Image]
) -> Dataset:
    """Writes the data set into `folder`, replacing what is there in one step.

    Args:
        load: gives the image of an annotation's task; its `ImageError` leaves that one out.

    Raises:
        DatasetError: nothing usable was approved.
        LabelStudioError: Label Studio, which keeps the images, is away.
    """
    classes = config.label_values
    left_out: list[str] = []
    examples: list[Example] = []
    for one in approved:
        example = _example(one, classes, load, left_out)
        if example is not None:
            examples.append(example)
    if not examples:
        raise DatasetError(
            f"None of the {len(approved)} approved annotations can be trained on. " + " ".join(left_out[:3])
        )
    sides = _sides(examples)
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=".half-", dir=folder.parent))
    for example in examples:
        _write_example(example, half, sides[example.image.key])
    names = dict(enumerate(classes))
    layout = {"path": str(folder.resolve()), "train": "images/train", "val": "images/val", "names": names}
    (half / "data.yaml").write_text(yaml.safe_dump(layout, sort_keys=False, allow_unicode=True))
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)
    for sentence in left_out:
        logger.warning("Left out of training: %s", sentence)
    return Dataset(
        data_yaml=folder / "data.yaml",
        classes=classes,
        train_images=sum("train" in where for where in sides.values()),
        val_images=sum("val" in where for where in sides.values()),
        instances=sum(len(example.lines) for example in examples),
        learnt={str(one.annotation_id): one.content_hash for one in approved},
        left_out=tuple(left_out),
        held_out=tuple(example.approved for example in examples if sides[example.image.key] == ("val",)),
    )


def _example(
    one: Approved, classes: tuple[str, ...], load: Callable[[Approved], Image], left_out: list[str]
) -> Example | None:
    where = f"annotation {one.annotation_id} of task {one.task_id}"
    masks, problems = decode(one.result)
    left_out += [f"{where}: {problem}" for problem in problems]
    usable = [labelled for labelled in masks if labelled.label in classes]
    left_out += [
        f"{where}: the label '{labelled.label}' is no longer in the label config."
        for labelled in masks
        if labelled.label not in classes
    ]
    if not usable:
        left_out.append(f"{where}: no usable regions; counted as reviewed.")
        return None
    try:
        image = load(one)
    except ImageError as e:
        left_out.append(f"{where}: {e}")
        return None
    return Example(approved=one, image=image, lines=tuple(_yolo_line(labelled, classes) for labelled in usable))


def _yolo_line(labelled: LabelledMask, classes: tuple[str, ...]) -> str:
    height, width = labelled.mask.shape
    outline = joined_outline(labelled.mask, tolerance_px=OUTLINE_TOLERANCE_PX) / (width, height)
    return f"{classes.index(labelled.label)} " + " ".join(f"{value:.6f}" for value in np.clip(outline, 0, 1).ravel())


def _sides(examples: Sequence[Example]) -> dict[str, tuple[str, ...]]:
    """Image key → `train`, `val`, or both: by the image's content, so that an image never changes sides.

    There is at least one image on each side; a lone image is on both.
    """
    keys = sorted({example.image.key for example in examples})
    if len(keys) == 1:
        return {keys[0]: ("train", "val")}
    chosen = {key for key in keys if int(key[:8], 16) < VAL_SHARE * 0xFFFFFFFF}
    if not chosen or len(chosen) == len(keys):
        chosen = {keys[0]}
    return {key: ("val",) if key in chosen else ("train",) for key in keys}


def _write_example(example: Example, folder: Path, sides: tuple[str, ...]) -> None:
    name = f"task_{example.approved.task_id}"
    encoded = cv2.imencode(".jpg", example.image.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    for side in sides:
        for kind in ("images", "labels"):
            (folder / kind / side).mkdir(parents=True, exist_ok=True)
        (folder / "images" / side / f"{name}.jpg").write_bytes(encoded.tobytes())
        (folder / "labels" / side / f"{name}.txt").write_text("\n".join(example.lines) + "\n")
