"""Photographs, garments and masks that are drawn small for tests of data sets, and their comparison."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as pycocotools_mask

from backend.domain import Mask
from backend.regions.polygons import outline_to_mask
from label_studio_config.palette_xml import palette

# None is square, so that swapped axes show.
WIDTH, HEIGHT = 120, 90
SIZE = (WIDTH, HEIGHT)
LABELS = ("shirt", "top", "dress", "pants", "hat", "bag", "upper clothes", "long sleeve top", "skirt")
CONFIG = palette(LABELS)


Polygon = list[float]


def photograph(number: int, size_wh: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    """`uint8 (H, W, 3)`: smooth, and another for each number."""
    rows, columns = np.indices(size_wh[::-1])
    shade = np.stack([rows * 2, columns * 2, np.full_like(rows, number * 37 % 256)], axis=2)
    return (shade % 256).astype(np.uint8)


def save(path: Path, number: int, size_wh: tuple[int, int] = SIZE) -> Path:
    """Writes a photograph, as a JPEG or whatever the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(number, size_wh)).save(path)
    return path


def body(shift: float) -> Polygon:
    """An outline of a garment with a waist, off the grid of pixels."""
    points = [(20.3, 10.2), (70.6, 12.4), (62.1, 40.7), (74.2, 70.3), (18.4, 72.9), (30.2, 41.5)]
    return [part for x, y in points for part in (x + shift, y + shift / 2)]


def blob(x: float, y: float, radius: float = 9.3) -> Polygon:
    """A round outline."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    return np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1).round(2).ravel().tolist()


def ring() -> Mask:
    """A garment with a hole that is large enough to stay one in a polygon."""
    rows, columns = np.indices((HEIGHT, WIDTH))
    distance = np.hypot(rows - 45, columns - 60)
    return np.asarray((distance < 30) & (distance > 12))


def drawn(*polygons: Polygon) -> Mask:
    """The union of outlines as a mask."""
    masks = [outline_to_mask(np.array(one).reshape(-1, 2), size_wh=SIZE) for one in polygons]
    return np.logical_or.reduce(masks)


def compressed(mask: Mask) -> dict[str, Any]:
    """COCO's run lengths as text, by pycocotools."""
    runs = pycocotools_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode("ascii")}


def uncompressed(mask: Mask) -> dict[str, Any]:
    """COCO's run lengths as numbers, the first of what is outside."""
    flat = mask.T.ravel()
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    lengths = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if flat[0] else lengths}


def index_of(numbers: Mapping[int, Sequence[Mask]]) -> npt.NDArray[np.uint8]:
    """An index mask of regions by number."""
    index = np.zeros((HEIGHT, WIDTH), np.uint8)
    for number, masks in numbers.items():
        for mask in masks:
            index[mask] = number
    return index


def encoded(pixels: npt.NDArray[np.uint8], form: str) -> bytes:
    """An image's file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def pairs(polygon: Polygon) -> list[list[float]]:
    """The points of an outline, one by one."""
    return np.array(polygon).reshape(-1, 2).tolist()


def within_a_pixel(one: Mask, other: Mask) -> bool:
    """Whether no pixel of either is farther than one pixel, along or across, from the other."""
    around = np.ones((3, 3), np.uint8)
    grown = [cv2.dilate(mask.view(np.uint8), around).astype(bool) for mask in (one, other)]
    return bool(not (one & ~grown[1]).any() and not (other & ~grown[0]).any())


def alike(found: Sequence[tuple[str, Mask]], expected: Sequence[tuple[str, Mask]]) -> bool:
    """Whether labels and masks are the same within a pixel, in any order."""
    left = list(expected)
    for label, mask in found:
        same = [number for number, (one, other) in enumerate(left) if one == label and within_a_pixel(mask, other)]
        if not same:
            return False
        left.pop(same[0])
    return not left
