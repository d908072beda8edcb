"""Cleans masks for the import: separates regions, fills holes, removes specks, drops garments that are too small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.ndimage import binary_fill_holes

from backend.domain import Mask
from backend.regions.mask_borders import without_specks
from training.data_in.annotated_image import Garment

# A part of less than this percentage of the image, and less than a fiftieth of the mask's largest part, is a speck.
SPECK_PERCENT = 0.05


@dataclass(frozen=True)
class MaskCleaning:
    """How masks are cleaned.

    Attributes:
        min_area_px: garments of fewer pixels are left out.
        fill_holes: whether a garment's holes are filled, except where another garment shows.
        remove_specks: whether specks and pinholes, as `backend.regions.mask_borders` defines them, are removed.
    """

    min_area_px: int = 0
    fill_holes: bool = False
    remove_specks: bool = False

    @property
    def changes_shape(self) -> bool:
        """Whether cleaning may change the shape of a garment."""
        return self.fill_holes or self.remove_specks


def cleaned(garments: Sequence[Garment], size_wh: tuple[int, int], cleaning: MaskCleaning) -> Iterator[Garment | None]:
    """Yields the garments that are left, each with at least one pixel; None for each garment that is too small."""
    masks = [garment.to_mask(size_wh) for garment in garments]
    covered = np.logical_or.reduce(masks) if cleaning.fill_holes and masks else None
    for garment, mask in zip(garments, masks, strict=True):
        if covered is not None:
            mask = mask | (binary_fill_holes(mask) & ~covered)
        if cleaning.remove_specks and mask.any():
            mask = without_specks(mask, speck_px=SPECK_PERCENT / 100 * mask.size)
        for region in _regions(mask) if garment.is_class_mask else (mask,):
            if np.count_nonzero(region) < max(cleaning.min_area_px, 1):
                yield None
            elif garment.outlines and not cleaning.changes_shape:
                yield garment
            else:
                yield replace(garment, outlines=(), mask=region, is_class_mask=False)


def _regions(mask: Mask) -> Iterator[Mask]:
    """Yields each connected region, from top to bottom; pixels that touch at a corner are connected."""
    count, numbers = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    for number in range(1, count):
        yield numbers == number
