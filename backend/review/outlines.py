"""Makes a prediction's regions into SVG paths, in percent of the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Mask
from backend.errors import RegionError
from backend.label_studio.label_colours import colour_of
from backend.label_studio.label_config import LabelConfig
from backend.regions.decode import Shape, decode, shapes

# Masks are reduced to this many pixels before they are outlined: they are drawn over a small picture.
SIDE_PX = 640
GREY = "#888888"
# Share of the height of a bold letter, on average.
WIDTH_OF_LETTER = 0.58
CONTOURS = (cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
Ring = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DrawnRegion:
    """One region as it is drawn.

    Attributes:
        name: its label; '' for further parts of a garment, which is named once.
        path: the `d` of an SVG path, in percent of the photograph's width and height; holes by the rule `evenodd`.
        top: where its name is written: its highest point, in percent.
    """

    name: str
    colour: str
    path: str
    top: tuple[float, float]

    @property
    def halo(self) -> str:
        """The colour around its line: light around a dark line, dark around a light one."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "#fff"


@dataclass(frozen=True)
class Name:
    """A region's name where it is written: the middle of its foot, in pixels of the picture."""

    text: str
    x: float
    y: float


def drawn_regions(result: Sequence[Mapping[str, Any]], config: LabelConfig) -> tuple[DrawnRegion, ...]:
    """The regions of the config's image that have a shape, in drawing order.

    Raises:
        RegionError: one cannot be read: whoever looks at the others would not see it.
    """
    colours = {label: colour_of(number) for number, label in enumerate(config.label_values)}
    drawn = []
    for region_id, shape in shapes([dict(region) for region in result]).items():
        if shape.region.get("to_name") not in (None, config.image_tag):
            continue
        rings = _rings(shape, region_id)
        name = config.label_of(shape.label or "no label")
        points = np.concatenate(rings)
        x, y = points[points[:, 1].argmin()]
        drawn.append(
            DrawnRegion(
                # A child in the region tree is another part of the same garment.
                name="" if shape.region.get("parentID") else name,
                colour=colours.get(name, GREY),
                path=" ".join(map(_path, rings)),
                top=(round(float(x), 2), round(float(y), 2)),
            )
        )
    return tuple(drawn)


def names(regions: Sequence[DrawnRegion], *, size_wh: tuple[int, int], height_px: float) -> list[Name]:
    """Places the regions' names inside the picture, each below those that it would cover.

    Args:
        size_wh: width and height of the picture, in pixels.
        height_px: height of the letters, in pixels of the picture.
    """
    width, height = size_wh
    placed: list[Name] = []
    for region in sorted(regions, key=lambda region: region.top[1]):
        if not region.name:
            continue
        half = WIDTH_OF_LETTER * height_px * len(region.name) / 2
        x = min(max(region.top[0] * width / 100, half), max(width - half, half))
        y = max(region.top[1] * height / 100, height_px)
        for other in placed:
            apart = half + WIDTH_OF_LETTER * height_px * len(other.text) / 2
            if abs(other.x - x) < apart and abs(other.y - y) < height_px:
                y = other.y + height_px
        placed.append(Name(region.name, round(x, 1), round(min(y, height - height_px / 4), 1)))
    return placed


def _rings(shape: Shape, region_id: str) -> list[Ring]:
    """The closed lines around a region, `(N, 2)` each, in percent."""
    if shape.kind == "polygon":
        # As they are: no mask is drawn for the most common kind.
        try:
            ring = np.array(shape.region["value"]["points"], np.float64).reshape(-1, 2)
        except (KeyError, TypeError, ValueError) as e:
            raise RegionError(f"Region {region_id}: its polygon value cannot be read ({e}).") from e
        if len(ring) and np.isfinite(ring).all():
            return [ring]
        raise RegionError(f"Region {region_id}: its polygon value cannot be read.")
    masks, problems = decode([{**shape.region, "value": {**shape.region["value"], "labels": [shape.label or "-"]}}])
    if not masks:
        raise RegionError(problems[0])
    return _mask_rings(masks[0].mask)


def _mask_rings(mask: Mask) -> list[Ring]:
    """The borders of a mask's parts and holes, in percent."""
    height, width = mask.shape
    factor = min(SIDE_PX / max(width, height), 1)
    size_wh = max(round(factor * width), 1), max(round(factor * height), 1)
    small = cv2.resize(mask.view(np.uint8) * 255, size_wh, interpolation=cv2.INTER_AREA)
    # A part of less than half a pixel still shows.
    found, _ = cv2.findContours((small > 127 if (small > 127).any() else small > 0).view(np.uint8), *CONTOURS)
    return [100 * (border.reshape(-1, 2) + 0.5) / size_wh for border in found]


def _path(ring: Ring) -> str:
    return "M" + "L".join(f"{x:.2f},{y:.2f}" for x, y in ring) + "Z"
