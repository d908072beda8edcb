"""COCO instances, as Fashionpedia and iMaterialist publish them: polygons, run lengths, crowds.

https://cocodataset.org/#format-data; https://github.com/cvdfoundation/fashionpedia
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import mask as rle

from backend.domain import Mask
from backend.errors import DatasetError
from backend.regions.decode import MAX_PIXELS
from training.data_in.annotated_image import AnnotatedImage, Garment, Source, id_text, outline_of
from training.data_in.picture_folder import PictureFolder
from training.data_in.rows_by_image import RowsByImage
from training.data_in.text_files import json_items

CROWD = "crowd (iscrowd): several garments in one outline (--crowds imports them)"
ATTRIBUTES = "garment attributes, which regions cannot store"
NO_OUTLINE = "garment with a box but no outline"
UNREADABLE = "unreadable outline"
UNLISTED = "garment of an image that the file does not list"
SAME_ID = "image that has the id of another one"
KEPT = ("image_id", "category_id", "segmentation", "iscrowd", "attribute_ids")


def read_coco(file: Path, pictures: PictureFolder, *, crowds: bool) -> Source:
    """Opens the images of a COCO file, with their instances.

    The file is streamed three times from start to end, and never held in memory.

    Args:
        crowds: whether crowds count as instances, too.

    Raises:
        DatasetError: the file cannot be read, is not a whole COCO file, or lists no images.
    """
    rows, left_out = RowsByImage(), Counter[tuple[str, str]]()
    try:
        for image in json_items(file, "images.item"):
            facts = {key: image.get(key) for key in ("file_name", "width", "height")}
            if not rows.add_image(image["id"], facts):
                left_out[SAME_ID, str(facts["file_name"])] += 1
        names = {id_text(category["id"]): str(category["name"]) for category in json_items(file, "categories.item")}
        for annotation in json_items(file, "annotations.item"):
            rows.add_row(annotation["image_id"], {key: annotation[key] for key in KEPT if key in annotation})
    except (KeyError, TypeError, AttributeError) as e:
        raise DatasetError(f"{file} is not a complete COCO file: {type(e).__name__} {e}") from e
    if not len(rows):
        raise DatasetError(f"{file} is not a COCO file, or lists no images.")
    unlisted, image_id = rows.without_image()
    if unlisted:
        left_out[UNLISTED, f"image_id {image_id}"] = unlisted
    return Source(file.stem, pictures.root, len(rows), _images(rows, names, pictures, crowds=crowds), left_out)


def _images(
    rows: RowsByImage, names: Mapping[str, str], pictures: PictureFolder, *, crowds: bool
) -> Iterator[AnnotatedImage]:
    for facts, instances in rows:
        size_wh = _size(facts)
        garments, notes = [], []
        for instance in instances:
            if instance.get("attribute_ids"):
                notes.append(ATTRIBUTES)
            if instance.get("iscrowd") and not crowds:
                notes.append(CROWD)
                continue
            garment = _garment(instance, names, size_wh)
            if isinstance(garment, str):
                notes.append(garment)
            else:
                garments.append(garment)
        yield AnnotatedImage(pictures.find_by_name(str(facts["file_name"])), tuple(garments), size_wh, tuple(notes))


def _size(facts: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = facts.get("width"), facts.get("height")
    if not all(isinstance(side, int | float) and side > 0 for side in (width, height)):
        return None
    return int(facts["width"]), int(facts["height"])


def _garment(instance: Mapping[str, Any], names: Mapping[str, str], size_wh: tuple[int, int] | None) -> Garment | str:
    """Returns the instance as a garment, or the reason why it cannot be read."""
    number = id_text(instance.get("category_id"))
    name = names.get(number, number)
    shape = instance.get("segmentation")
    if not shape:
        return NO_OUTLINE
    parts = shape if isinstance(shape, list) else [shape]
    if all(isinstance(part, dict) for part in parts):
        masks = [run_lengths_to_mask(part, size_wh) for part in parts]
        read = [mask for mask in masks if mask is not None]
        return Garment(name, mask=np.logical_or.reduce(read)) if len(read) == len(masks) else UNREADABLE
    outlines = [outline for part in parts if (outline := outline_of(part)) is not None]
    return Garment(name, tuple(outlines)) if outlines else UNREADABLE


def run_lengths_to_mask(runs: Mapping[str, Any], size_wh: tuple[int, int] | None) -> Mask | None:
    """Decodes COCO's run lengths, which go down the columns, compressed (text) or not (numbers), to `bool (H, W)`.

    Returns None where the runs do not fill their size, or that size is not the image's, or larger than any image.
    """
    try:
        height, width = (int(side) for side in runs["size"])
        counts = runs["counts"]
        if size_wh not in (None, (width, height)) or min(width, height) < 1 or width * height > MAX_PIXELS:
            return None
        if not isinstance(counts, str):
            lengths = np.array(counts, np.int64)
            if (lengths < 0).any() or lengths.sum() != width * height:
                return None
            inside = np.arange(len(lengths)) % 2 == 1
            return np.repeat(inside, lengths).reshape(width, height).T
        return rle.decode({"size": [height, width], "counts": counts.encode("ascii")}).astype(bool)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError):
        return None
