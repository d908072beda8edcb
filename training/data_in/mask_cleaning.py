"""What becomes of masks before they come in: regions taken apart, holes, specks, what is too small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes

from backend.domain import Mask
from backend.regions.mask_borders import tidied
from training.data_in.annotated_image import Garment

# What is less is a speck, in percent of the image, where it is also less than a fiftieth of the class's largest region.
SPECK_PERCENT = 0.05


@dataclass(frozen=True)
class Cleaning:
    """What is asked for.

    Attributes:
        min_area_px: garments of fewer pixels are left out.
        fill_holes: holes of a garment in which no other garment is seen are filled.
        remove_specks: specks and pinholes are removed, as `backend.regions.mask_borders` knows them.
    """

    min_area_px: int = 0
    fill_holes: bool = False
    remove_specks: bool = False

    @property
    def redraws(self) -> bool:
        """Whether garments may become others than the set has them."""
        return self.fill_holes or self.remove_specks


def cleaned(garments: Sequence[Garment], size_wh: tuple[int, int], cleaning: Cleaning) -> Iterator[Garment | None]:
    """The garments that are left, each with at least a pixel; None for each that is too small."""
    masks = [one.drawn(size_wh) for one in garments]
    covered = np.logical_or.reduce(masks) if cleaning.fill_holes and masks else None
    for garment, drawn in zip(garments, masks, strict=True):
        mask = drawn
        if covered is not None:
            mask = mask | (binary_fill_holes(mask) & ~covered)
        if cleaning.remove_specks and mask.any():
            mask = tidied(mask, speck_px=SPECK_PERCENT / 100 * mask.size)
        for region in _regions(mask) if garment.apart else (mask,):
            if np.count_nonzero(region) < max(cleaning.min_area_px, 1):
                yield None
            elif garment.outlines and not cleaning.redraws:
                yield garment
            else:
                yield replace(garment, outlines=(), mask=region, apart=False)


def _regions(mask: Mask) -> Iterator[Mask]:
    """Each connected region, from top to bottom; pixels that touch at a corner are connected."""
    count, numbers = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    for number in range(1, count):
        yield numbers == number
