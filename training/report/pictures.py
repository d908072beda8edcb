"""Draws the report's photographs, with garments outlined and tinted, as small JPEGs inside the page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import Box, LabelledMask, Mask, Pixels
from backend.label_studio.label_colours import colour_of
from backend.regions.mask_size import resize_mask

PICTURE_SIDE_PX = 360
CROP_SIDE_PX = 220
JPEG_QUALITY = 70
TINT = 0.35
# The margin on all sides of a crop, as a share of the longer side of its garments.
CROP_MARGIN = 0.35
MIN_CROP_PX = 48
RIM_PX, LINE_PX = 4, 2
# The least distance of a name's centre from the picture's left and right edge, so that the name fits.
NAME_INSET_PERCENT = 28.0
# Names that are closer than this, in percent of the picture's height, are moved apart.
NAME_PERCENT = 8.0


@dataclass(frozen=True)
class Name:
    """A garment's label on a picture: its position in percent of the picture's size, its CSS colour."""

    text: str
    left_percent: float
    top_percent: float
    colour: str


@dataclass(frozen=True)
class ReportPicture:
    """A JPEG as a data URI, with its size in pixels, the names drawn on it, and a description in words."""

    uri: str
    size_wh: tuple[int, int]
    names: tuple[Name, ...]
    alt: str


def colours_of(labels: Sequence[str]) -> dict[str, str]:
    """Returns label → its colour in this report."""
    return {label: colour_of(number) for number, label in enumerate(labels)}


def picture(
    pixels: Pixels,
    garments: Sequence[LabelledMask],
    colours: Mapping[str, str],
    *,
    alt: str,
    side_px: int = PICTURE_SIDE_PX,
) -> ReportPicture:
    """Draws the image, at most `side_px` long, with garments outlined and tinted in their labels' colours.

    Args:
        pixels: `uint8 (H, W, 3)`, RGB.
        garments: masks of the image's size; a label without a colour is drawn grey.
    """
    height, width = pixels.shape[:2]
    scale = min(side_px / max(height, width), 1.0)
    size_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    drawn = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA)
    small = [
        (resize_mask(garment.mask, size_wh), garment, colours.get(garment.label, "#808080")) for garment in garments
    ]
    for mask, _, colour in small:
        drawn[mask] = np.round((1 - TINT) * drawn[mask] + TINT * np.array(_rgb(colour))).astype(np.uint8)
    for mask, _, colour in small:
        outlines, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        # The dark rim makes any colour visible on any cloth.
        cv2.drawContours(drawn, outlines, -1, (0, 0, 0), RIM_PX, cv2.LINE_AA)
        cv2.drawContours(drawn, outlines, -1, _rgb(colour), LINE_PX, cv2.LINE_AA)
    encoded = cv2.imencode(".jpg", drawn[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    uri = f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
    return ReportPicture(uri, size_wh, _names(small), alt)


def in_words(garments: Sequence[LabelledMask]) -> str:
    """Returns the garments' labels, with their scores if they have any."""
    return ", ".join(map(_caption, garments)) or "nothing"


def cropped(pixels: Pixels, garments: Sequence[LabelledMask], around: Box) -> tuple[Pixels, list[LabelledMask]]:
    """Crops an image and its garments to a box."""
    rows, columns = slice(int(around.y_min), int(around.y_max)), slice(int(around.x_min), int(around.x_max))
    return pixels[rows, columns], [
        LabelledMask(garment.mask[rows, columns], garment.label, garment.score) for garment in garments
    ]


def surroundings(masks: Sequence[Mask]) -> Box:
    """Returns a box around all masks with a margin, in whole pixels inside the image."""
    height, width = masks[0].shape
    rows, columns = np.nonzero(np.logical_or.reduce(list(masks)))
    longer = max(int(np.ptp(rows)), int(np.ptp(columns)), MIN_CROP_PX)
    margin = round(CROP_MARGIN * longer)
    return Box(
        max(int(columns.min()) - margin, 0),
        max(int(rows.min()) - margin, 0),
        min(int(columns.max()) + 1 + margin, width),
        min(int(rows.max()) + 1 + margin, height),
    )


def _caption(garment: LabelledMask) -> str:
    return garment.label if garment.score is None else f"{garment.label} {garment.score:.2f}"


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _names(small: Sequence[tuple[Mask, LabelledMask, str]]) -> tuple[Name, ...]:
    """Places each name where its garment is widest; moves names down that would cover others."""
    names = []
    for mask, garment, colour in small:
        # Padded, so that the picture's edge counts as the edge of the mask too.
        depth = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        if mask.any():
            height, width = mask.shape
            names.append(Name(_caption(garment), 100 * (column + 0.5) / width, 100 * (row + 0.5) / height, colour))
    placed: list[Name] = []
    for name in sorted(names, key=lambda name: name.top_percent):
        lowest_percent = max((above.top_percent for above in placed), default=-NAME_PERCENT)
        top = min(max(name.top_percent, lowest_percent + NAME_PERCENT), 100 - NAME_PERCENT / 2)
        left = min(max(name.left_percent, NAME_INSET_PERCENT), 100 - NAME_INSET_PERCENT)
        placed.append(Name(name.text, left, top, name.colour))
    return tuple(placed)
