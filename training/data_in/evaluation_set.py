"""An annotated set of others as what models are judged on, without a project that holds it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from backend.domain import Image, LabelledMask
from backend.errors import ImageError
from backend.images.decode import decode_image
from backend.label_studio.label_config import LabelConfig
from backend.regions.mask_size import fitted
from backend.settings import Settings
from training.data_in.annotated_image import AnnotatedImage, Source
from training.data_in.class_mapping import Mapping
from training.data_in.mask_cleaning import Cleaning, cleaned
from training.data_in.picture_folder import SetPicture
from training.evaluation.held_out import HeldOut

logger = logging.getLogger(__name__)


def evaluation_images(
    source: Source, config: LabelConfig, mapping: Mapping, settings: Settings, *, side_px: int
) -> Iterator[HeldOut]:
    """The set's images that are there and show garments of the config's labels or none, one at a time.

    Tasks are numbered from 1, in the set's order; those that are passed over are logged.

    Args:
        side_px: images are made so small that their longer side has this many pixels.

    Raises:
        DatasetError: the set is damaged.
    """
    for number, one in enumerate(source.images, 1):
        try:
            image = _decoded(one.picture, settings, side_px)
        except ImageError as e:
            logger.warning("Passed over: %s", e)
            continue
        if image is None:
            logger.warning("Passed over: the image '%s' is not there", one.picture.name)
            continue
        yield HeldOut(number, number, image, tuple(_truth(one, image, mapping)))


def _decoded(picture: SetPicture, settings: Settings, side_px: int) -> Image | None:
    try:
        encoded = picture.file.read_bytes() if picture.file else picture.encoded
    except OSError as e:
        raise ImageError(f"The image '{picture.name}' cannot be read: {e}") from e
    if encoded is None:
        return None
    return decode_image(encoded, source=picture.name, max_pixels=settings.image_max_pixels, side_px=side_px)


def _truth(one: AnnotatedImage, image: Image, mapping: Mapping) -> Iterator[LabelledMask]:
    drawn_wh = one.size_wh or one.picture.size_wh() or image.size_wh
    known = [garment for garment in one.garments if mapping.label_for(garment.name) is not None]
    for garment in cleaned(known, drawn_wh, Cleaning()):
        label = mapping.label_for(garment.name) if garment is not None else None
        if garment is None or label is None:
            continue
        mask = fitted(garment.drawn(drawn_wh), image.size_wh)
        if mask.any():
            yield LabelledMask(mask, label)
