"""The types that every format is read into: an image and its garments, with the data set's own class names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from backend.domain import Mask
from backend.regions.polygons import Outline, outline_to_mask
from training.data_in.picture_folder import SetPicture

WHOLE_NUMBER = re.compile(r"^(-?\d+)\.0+$")


@dataclass(frozen=True)
class Garment:
    """One garment: the outlines of its parts, or a mask.

    Attributes:
        name: its class in the data set.
        outlines: each `(N, 2)`, N at least 3, in pixels, x before y.
        mask: `bool (H, W)`; None where there are outlines.
        is_class_mask: whether the mask covers all garments of its class: each connected region is one garment.
    """

    name: str
    outlines: tuple[Outline, ...] = ()
    mask: Mask | None = None
    is_class_mask: bool = False

    def to_mask(self, size_wh: tuple[int, int]) -> Mask:
        """Returns the garment as a mask `bool (H, W)`, the union of its parts."""
        if self.mask is not None:
            return self.mask
        return np.logical_or.reduce([outline_to_mask(outline, size_wh=size_wh) for outline in self.outlines])


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of a data set.

    Attributes:
        garments: in drawing order, back to front.
        size_wh: size in pixels of the picture that the garments were drawn on; None where the set does not give it.
        notes: a phrase for each part of this image's annotation that is not imported.
    """

    picture: SetPicture
    garments: tuple[Garment, ...] = ()
    size_wh: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """An open data set.

    Attributes:
        name: the set's name in messages, and in the recorded origin of its garments.
        root: the folder that all image files lie in or below; None where the images are not files.
        count: how many images there are, or a few more.
        images: yields one image at a time; raises `DatasetError` where the set is damaged.
        left_out: how often something that belongs to no image is left out, by reason and an example.
    """

    name: str
    root: Path | None
    count: int
    images: Iterator[AnnotatedImage]
    left_out: Mapping[tuple[str, str], int] = field(default_factory=dict)


def outline_of(numbers: object) -> Outline | None:
    """Reads `x, y, x, y, …` as an outline; returns None unless these are at least three points of finite numbers."""
    try:
        flat = np.array(numbers, np.float64).ravel()
    except (TypeError, ValueError):
        return None
    if flat.size < 6 or flat.size % 2 or not (np.abs(flat) < 1e6).all():
        return None
    return flat.reshape(-1, 2)


def id_text(number: object) -> str:
    """Returns an id, or a class's number, as text that is the same for `1`, `1.0`, `"1"` and `"1.000000"`."""
    if isinstance(number, float) and number.is_integer():
        return str(int(number))
    return WHOLE_NUMBER.sub(r"\1", str(number))
