"""Small pictures for the page: photographs with the outlines of their garments, and the garments themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Mask, Pixels
from backend.images.decode import reduced_size
from backend.regions.mask_size import resize_mask
from training.data_out.garment_images import GarmentImage
from training.data_out.picture_files import write_picture

PHOTOGRAPH_SIDE_PX = 900
GARMENT_SIDE_PX = 320
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 82]
WEBP = [cv2.IMWRITE_WEBP_QUALITY, 82]
# In pixels of the small photograph: nobody sees the difference.
OUTLINE_TOLERANCE_PX = 1.0


@dataclass(frozen=True)
class Photograph:
    """A small photograph.

    Attributes:
        name: that of the exported image.
        file: its path below the folder.
        size_wh: its width and height in pixels.
        outlines: for each garment, the `d` of an SVG path in these pixels; holes by the rule `evenodd`. Empty for a
            garment that is too small to see.
    """

    name: str
    task: int
    file: str
    size_wh: tuple[int, int]
    outlines: tuple[str, ...]


def garment_file(image: str, number: int) -> str:
    """Returns the path, below the folder, of the small picture of an image's garment with that number."""
    return f"small/garments/{image}_{number}.webp"


def write_small_pictures(image: GarmentImage, folder: Path) -> Photograph:
    """Writes an image and its garments, as small pictures, below `small/`.

    Raises:
        OSError: a file cannot be written.
    """
    size_wh = reduced_size(image.size_wh, PHOTOGRAPH_SIDE_PX)
    file = f"small/photographs/{image.name}.jpg"
    write_picture(folder / file, cv2.resize(image.pixels, size_wh, interpolation=cv2.INTER_AREA), JPEG)
    for number, garment in enumerate(image.garments, start=1):
        write_picture(folder / garment_file(image.name, number), small_cutout(image.pixels, garment.mask), WEBP)
    outlines = tuple(outline(resize_mask(garment.mask, size_wh)) for garment in image.garments)
    return Photograph(image.name, image.task_id, file, size_wh, outlines)


def small_cutout(pixels: Pixels, mask: Mask) -> Pixels:
    """Cuts a garment out to its box and reduces it; returns `uint8 (h, w, 4)`, RGBA, transparent around the garment."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    part = np.s_[y : y + height, x : x + width]
    visible = mask[part].astype(np.float32)
    size_wh = reduced_size((width, height), GARMENT_SIDE_PX)
    # Multiplied by opacity before it is reduced: else the surroundings would bleed into the edge.
    colour = cv2.resize(pixels[part] * visible[..., None], size_wh, interpolation=cv2.INTER_AREA)
    opacity = cv2.resize(visible, size_wh, interpolation=cv2.INTER_AREA)
    rgb = colour / np.maximum(opacity, 1e-6)[..., None]
    return np.dstack([rgb, 255 * opacity]).round().clip(0, 255).astype(np.uint8)


def outline(mask: Mask) -> str:
    """Returns the outline of `bool (H, W)` as the `d` of an SVG path in pixels, empty for an empty mask."""
    rings, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    reduced = [cv2.approxPolyDP(ring, OUTLINE_TOLERANCE_PX, closed=True)[:, 0] for ring in rings]
    return "".join(_path(ring) for ring in reduced if len(ring) > 2)


def _path(ring: npt.NDArray[np.int32]) -> str:
    """Returns a closed line `(N, 2)`: the first point, then steps from each to the next, which are shorter to write."""
    steps = " ".join(f"{x},{y}" for x, y in np.diff(ring, axis=0))
    return f"M{ring[0, 0]},{ring[0, 1]}l{steps}z"
