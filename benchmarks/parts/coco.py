"""Masks of a COCO annotation file, by its own format: https://cocodataset.org/#format-data.

Read here and not by pycocotools, which Drape does not need otherwise and which wants a compiler where it has no wheel.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from backend.domain import Image, Mask
from backend.errors import DrapeError
from backend.regions.polygons import outline_to_mask


class CocoError(DrapeError):
    """The annotation file or one of its images cannot be read."""


def read_coco(annotations: Path, images: Path, *, limit: int) -> Iterator[tuple[Image, Mask]]:
    """Image and mask `bool (H, W)` of every annotation that is no crowd and not empty, at most `limit` of them.

    Raises:
        CocoError: a file is missing or is not what the format says; names it.
    """
    try:
        content = json.loads(annotations.read_text(encoding="utf-8"))
        files = {image["id"]: images / image["file_name"] for image in content["images"]}
        wanted = [
            annotation
            for annotation in content["annotations"]
            if not annotation.get("iscrowd") and annotation.get("segmentation")
        ][:limit]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise CocoError(f"'{annotations}' is no COCO annotation file: {e!r}.") from e
    for annotation in sorted(wanted, key=lambda annotation: str(annotation["image_id"])):
        path = files.get(annotation["image_id"])
        pixels = None if path is None else cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise CocoError(f"The image of annotation {annotation.get('id')} cannot be read: '{path}'.")
        try:
            mask = mask_of(annotation["segmentation"], size_wh=(pixels.shape[1], pixels.shape[0]))
        except (ValueError, KeyError, TypeError, IndexError) as e:
            raise CocoError(f"The segmentation of annotation {annotation.get('id')} cannot be read: {e}.") from e
        if mask.any():
            yield Image(np.ascontiguousarray(pixels[..., ::-1]), str(path), str(path)), mask


def mask_of(segmentation: Any, *, size_wh: tuple[int, int]) -> Mask:
    """The mask `bool (H, W)` of polygons (a list), or of run lengths (an object), plain or compressed.

    Raises:
        ValueError: the run lengths do not fill the image.
    """
    width, height = size_wh
    if isinstance(segmentation, list):
        outlines = [np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation]
        return np.logical_or.reduce([outline_to_mask(outline, size_wh=size_wh) for outline in outlines])
    counts = segmentation["counts"]
    runs = np.array(_uncompressed(counts) if isinstance(counts, str) else counts, np.int64)
    if list(segmentation["size"]) != [height, width] or runs.sum() != height * width or runs.min() < 0:
        raise ValueError(f"run lengths of size {segmentation['size']} do not fill an image of {width} x {height}")
    # Runs go down the columns, the first of them outside.
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.ascontiguousarray(flat.reshape(width, height).T)


def _uncompressed(counts: str) -> list[int]:
    """Run lengths from COCO's string: five bits a character, the sixth says that more follow; differences to the last
    but one from the fourth on (`rleFrString` of cocoapi's maskApi.c)."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
