"""Reads an annotated data set of others to evaluate models on, without importing it into a project."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from backend.domain import Image, LabelledMask
from backend.errors import ImageError
from backend.images.decode import decode_image
from backend.label_studio.label_config import LabelConfig
from backend.regions.mask_size import resize_mask
from backend.settings import Settings
from training.data_in.annotated_image import AnnotatedImage, Source
from training.data_in.class_mapping import ClassMapping
from training.data_in.mask_cleaning import MaskCleaning, cleaned
from training.data_in.picture_folder import SetPicture
from training.data_in.tally import DUPLICATE, Tally
from training.evaluation.compact_scenes import CompactMasks
from training.evaluation.held_out import HeldOut, store_pixels

logger = logging.getLogger(__name__)


def evaluation_images(
    source: Source, config: LabelConfig, mapping: ClassMapping, settings: Settings, *, side_px: int, folder: Path
) -> Iterator[HeldOut]:
    """Yields the set's images one at a time, each with its garments of the config's labels, if it has any.

    A task's number is the image's place in the set, from 1. Missing or unreadable images are logged and left out.
    What else is left out is logged at the end: where it is a garment, a model that finds it counts as wrong.

    Args:
        side_px: a larger image is reduced until its longer side has this many pixels.
        folder: where the images' pixels are stored; each use of an image reads them there.

    Raises:
        DatasetError: the set is damaged.
        StorageError: the folder cannot be written, for example because the disk is full.
    """
    tally = Tally()
    for (reason, example), count in source.left_out.items():
        tally.note([reason] * count, example)
    seen: set[str] = set()
    for number, annotated in enumerate(source.images, 1):
        if annotated.picture.name in seen:
            tally.note([DUPLICATE], annotated.picture.name)
            continue
        seen.add(annotated.picture.name)
        try:
            image = _decoded(annotated.picture, settings, side_px)
        except ImageError as e:
            logger.warning("Image skipped: %s", e)
            continue
        if image is None:
            logger.warning("Image skipped: '%s' is missing", annotated.picture.name)
            continue
        tally.note(annotated.notes, annotated.picture.name)
        stored = store_pixels(image, folder / f"{number}.npy")
        yield HeldOut(number, number, stored, CompactMasks(truth_of_image(annotated, image.size_wh, mapping)))
    for reason, count in tally.reasons.most_common():
        logger.warning("Left out %s x: %s (%s)", count, reason, ", ".join(tally.examples[reason]))


def _decoded(picture: SetPicture, settings: Settings, side_px: int) -> Image | None:
    try:
        encoded = picture.file.read_bytes() if picture.file else picture.encoded
    except OSError as e:
        raise ImageError(f"The image '{picture.name}' cannot be read: {e}") from e
    if encoded is None:
        return None
    return decode_image(encoded, source=picture.name, max_pixels=settings.image_max_pixels, side_px=side_px)


def truth_of_image(
    annotated: AnnotatedImage, size_wh: tuple[int, int], mapping: ClassMapping
) -> Iterator[LabelledMask]:
    """Yields the image's garments that have a label, each with its mask at the image's size.

    Args:
        size_wh: the image's width and height in pixels.
    """
    drawn_wh = annotated.size_wh or annotated.picture.size_wh() or size_wh
    known = [garment for garment in annotated.garments if mapping.label_for(garment.name) is not None]
    for garment in cleaned(known, drawn_wh, MaskCleaning()):
        label = mapping.label_for(garment.name) if garment is not None else None
        if garment is None or label is None:
            continue
        mask = resize_mask(garment.to_mask(drawn_wh), size_wh)
        if mask.any():
            yield LabelledMask(mask, label)
