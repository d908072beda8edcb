"""What every format is read into: an image and its garments, under the data set's own names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.domain import Mask
from backend.regions.polygons import Outline, outline_to_mask
from training.data_in.picture_folder import SetPicture


@dataclass(frozen=True)
class Garment:
    """One instance: outlines of its parts, or a mask.

    Attributes:
        name: its class, as the data set calls it.
        outlines: `(N, 2)` each, N at least 3, pixels, x before y.
        mask: `bool (H, W)`; None where there are outlines.
        apart: the mask is all that the image shows of the class: each connected region is a garment.
    """

    name: str
    outlines: tuple[Outline, ...] = ()
    mask: Mask | None = None
    apart: bool = False

    def drawn(self, size_wh: tuple[int, int]) -> Mask:
        """The garment as a mask `bool (H, W)`; parts that overlap are one."""
        if self.mask is not None:
            return self.mask
        return np.logical_or.reduce([outline_to_mask(outline, size_wh=size_wh) for outline in self.outlines])


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of a data set.

    Attributes:
        garments: back to front.
        size_wh: of the picture that the garments were drawn on, in pixels; None where the set does not say.
        notes: what the set says of this image that is not brought in, a phrase for each time.
    """

    picture: SetPicture
    garments: tuple[Garment, ...] = ()
    size_wh: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A data set that is open.

    Attributes:
        name: for people, and for what is written down of where garments came from.
        root: the folder that all of its files of images lie in or below; None where there are none.
        count: how many images there are.
        images: one at a time; raises `DatasetError` where the set is damaged.
    """

    name: str
    root: Path | None
    count: int
    images: Iterator[AnnotatedImage]


def outline_of(numbers: object) -> Outline | None:
    """`x, y, x, y, …` as an outline; None where those are no three points of finite numbers."""
    try:
        flat = np.array(numbers, np.float64).ravel()
    except (TypeError, ValueError):
        return None
    if flat.size < 6 or flat.size % 2 or not (np.abs(flat) < 1e6).all():
        return None
    return flat.reshape(-1, 2)
