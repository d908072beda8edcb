"""Loads held-out images with ground truth, at the detector's size, for evaluation and calibration.

Their pixels lie in files: those of ten thousand approved images take gigabytes in memory. They are stored as they were
read, not compressed again, so that a model sees what it sees in production.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from backend.domain import Image, Photo, Pixels
from backend.errors import ImageError, StorageError
from backend.images.fetch import ImageStore, StoredImage
from backend.images.task_image import load_image
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import Task
from backend.regions.mask_size import resize_mask
from training.annotations.approvals import Approved
from training.annotations.truth import truth_of
from training.evaluation.compact_scenes import CompactMasks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldOut:
    """An image, no larger than the detector sees it, with the ground truth at the image's size.

    Attributes:
        load_whole: loads the image at its full resolution; raises `ImageError` or `LabelStudioError`. None if there is
            no other than `image`.
    """

    task_id: int
    annotation_id: int
    image: Photo
    truth: CompactMasks
    load_whole: Callable[[], Image] | None = None


def held_out_images(
    approved: Sequence[Approved], config: LabelConfig, images: ImageStore, *, side_px: int, folder: Path
) -> Iterator[HeldOut]:
    """Yields the readable images one at a time; skips the others, as the data set did.

    Args:
        side_px: a larger image is reduced until its longer side has this many pixels.
        folder: where the images' pixels are stored; each use of an image reads them there.

    Raises:
        LabelStudioError: Label Studio, which serves the images, is unreachable.
        StorageError: the folder cannot be written, for example because the disk is full.
    """
    for annotation in approved:
        task = Task(id=annotation.task_id, data=annotation.data)
        try:
            image = load_image(images, task, config, side_px=side_px)
        except ImageError as e:
            logger.warning("Held-out task %s is skipped: %s", annotation.task_id, e)
            continue
        annotated = truth_of(annotation.result, config)
        if annotated.is_partial:
            logger.warning("Held-out task %s is skipped: garments in it have no outline.", annotation.task_id)
            continue
        truth = (replace(garment, mask=resize_mask(garment.mask, image.size_wh)) for garment in annotated.garments)
        yield HeldOut(
            annotation.task_id,
            annotation.annotation_id,
            store_pixels(image, folder / f"{annotation.task_id}-{side_px}.npy"),
            CompactMasks(garment for garment in truth if garment.mask.any()),
            partial(load_image, images, task, config),
        )


def store_pixels(image: Image, path: Path) -> StoredImage:
    """Writes an image's pixels to a file, and returns the image, which reads them there at each use.

    Raises:
        StorageError: the file cannot be written, for example because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, image.pixels)
    except OSError as e:
        raise StorageError(
            f"The pixels of the image '{image.source}' cannot be stored in {path.parent}: {e.strerror or e}. An "
            "evaluation needs a few megabytes there for each image. If the disk is full, make room on it."
        ) from e
    return StoredImage(image.key, image.source, image.size_wh, partial(_read_pixels, path, image.source))


def _read_pixels(path: Path, source: str) -> Pixels:
    try:
        pixels: Pixels = np.load(path)
    except (OSError, EOFError, ValueError) as e:
        raise ImageError(
            f"The reduced copy of the image '{source}' can no longer be read: {e}. Start again what needed it."
        ) from e
    return pixels
