"""Reads Label Studio's regions as masks: polygon, brush, bitmask, rectangle and ellipse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.domain import LabelledMask
from backend.errors import RegionError
from backend.regions.bitmask import data_url_to_mask
from backend.regions.brush import rle_to_mask
from backend.regions.polygons import Outline, outline_to_mask

# A region that claims a larger image counts as damaged: its mask would take more than a quarter of a gigabyte.
MAX_PIXELS = 1 << 28
# Percentages, degrees and scores must be smaller than this: larger values, infinity and NaN are invalid.
MAX_VALUE = 1e6
SHAPES = ("polygon", "brush", "bitmask", "rectangle", "ellipse")
# Regions that Label Studio draws on images, and that surround nothing.
LINES = ("vector",)
LABEL_KEYS = ("labels", *(f"{shape}labels" for shape in (*SHAPES, *LINES)))

# Reasons why a region has no mask that leave no doubt: nothing was drawn.
NO_PIXEL, TOO_FEW_POINTS = "it covers no pixel.", "it has fewer than 3 points."
NOTHING_DRAWN = (NO_PIXEL, TOO_FEW_POINTS)


@dataclass(frozen=True)
class Shape:
    """A region that has a shape.

    Attributes:
        kind: one of `SHAPES`.
        labels: the first is the garment's; Label Studio allows a region more, and a garment has one.
    """

    region: dict[str, Any]
    kind: str
    labels: tuple[str, ...]

    @property
    def label(self) -> str | None:
        """The region's label; None if it has none."""
        return self.labels[0] if self.labels else None


def decode(result: Sequence[Any]) -> tuple[list[LabelledMask], list[str]]:
    """Returns an annotation's labelled masks in drawing order, and a sentence for each region that cannot be read.

    Prompts (key points, words) and messages have no shape and are skipped; a shape without a label is reported, and a
    line.
    """
    masks: list[LabelledMask] = []
    problems: list[str] = []
    for decoded in iter_decoded(result):
        if isinstance(decoded, str):
            problems.append(decoded)
        else:
            masks.append(decoded)
    return masks, problems


def iter_decoded(result: Sequence[Any], *, size_wh: tuple[int, int] | None = None) -> Iterator[LabelledMask | str]:
    """Yields the results of `decode` singly: hundreds of masks of a large photograph do not fit into memory together.

    Args:
        size_wh: skips regions of images of any other size, before it draws their masks; None skips none.
    """
    for number, region in enumerate(result):
        if isinstance(region, dict) and _kind(region) in LINES:
            yield f"Region {region.get('id', number)}: a {_kind(region)} is no outline of a garment. Draw a polygon."
    for region_id, shape in shapes(result).items():
        if shape.label is None:
            yield f"Region {region_id}: it has no label."
            continue
        try:
            original_wh = _original_wh(shape.region)
            if size_wh in (None, original_wh):
                yield _decode_region(shape.region, original_wh, label=shape.label, region_id=region_id)
        except RegionError as e:
            yield f"Region {region_id}: {e}"


def shapes(result: Sequence[Any]) -> dict[str, Shape]:
    """Returns an annotation's regions that have a shape, by id, in drawing order; draws no mask."""
    regions: dict[str, dict[str, Any]] = {}
    labels: dict[str, list[str]] = {}
    for number, region in enumerate(result):
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            continue
        region_id = str(region.get("id", number))
        if _kind(region) in SHAPES:
            regions[region_id] = region
        for key in LABEL_KEYS:
            if isinstance(value.get(key), list) and value[key]:
                # The last list comes first: where two tags label one region, it is the later that counts.
                labels[region_id] = [*map(str, value[key]), *labels.get(region_id, [])]
    return {
        region_id: Shape(region, _kind(region), tuple(dict.fromkeys(labels.get(region_id, []))))
        for region_id, region in regions.items()
    }


def _original_wh(region: dict[str, Any]) -> tuple[int, int]:
    """Returns the size of the region's image, in pixels."""
    try:
        width, height = int(region["original_width"]), int(region["original_height"])
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise RegionError("its image has no size.") from e
    if min(width, height) < 1:
        raise RegionError("its image has no size.")
    if max(width, height) > MAX_PIXELS or width * height > MAX_PIXELS:
        raise RegionError(f"its image is too large: more than {MAX_PIXELS:,} pixels.")
    return width, height


def _decode_region(region: dict[str, Any], size_wh: tuple[int, int], *, label: str, region_id: str) -> LabelledMask:
    value = region["value"]
    kind = _kind(region)
    try:
        match kind:
            case "polygon":
                mask = outline_to_mask(_points(value["points"]) * size_wh / 100, size_wh=size_wh)
            case "brush":
                mask = rle_to_mask(value["rle"], size_wh=size_wh)
            case "bitmask":
                mask = data_url_to_mask(str(value["imageDataURL"]), size_wh=size_wh)
            case "rectangle":
                mask = outline_to_mask(_rectangle(value, size_wh), size_wh=size_wh)
            case "ellipse":
                mask = outline_to_mask(_ellipse(value, size_wh), size_wh=size_wh)
            case _:
                raise RegionError(f"the region type '{kind}' is unknown.")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as e:
        raise RegionError(f"its {kind} value cannot be read ({e}).") from e
    if not mask.any():
        raise RegionError(NO_PIXEL)
    score = region.get("score")
    return LabelledMask(
        mask=mask,
        label=label,
        kind=kind,
        region_id=region_id,
        # JSON integers are unbounded, and `float` fails on a huge one.
        score=float(score) if isinstance(score, int | float) and abs(score) < MAX_VALUE else None,
    )


def _kind(region: Mapping[str, Any]) -> str:
    return str(region.get("type", "")).removesuffix("labels")


def _points(points: object) -> Outline:
    """Returns the points as an outline `(N, 2)`, in percent."""
    outline = np.array(points, np.float64).reshape(-1, 2)
    if len(outline) < 3:
        raise RegionError(TOO_FEW_POINTS)
    if not (np.abs(outline) < MAX_VALUE).all():
        raise RegionError("its points are far outside the image.")
    return outline


def _number(value: dict[str, Any], key: str) -> float:
    number = float(value[key])
    if not abs(number) < MAX_VALUE:
        raise RegionError(f"its '{key}' is {number}.")
    return number


def _rotated(corners: Outline, pivot: Outline, degrees: float) -> Outline:
    angle = np.deg2rad(degrees)
    # Clockwise on the screen, because y points down.
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(pivot + (corners - pivot) @ rotation)


def _rectangle(value: dict[str, Any], size_wh: tuple[int, int]) -> Outline:
    x, y, width, height = (_number(value, key) for key in ("x", "y", "width", "height"))
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]) * size_wh / 100
    # Label Studio rotates a rectangle about its upper left corner.
    return _rotated(corners, corners[0], _number({"rotation": value.get("rotation") or 0}, "rotation"))


def _ellipse(value: dict[str, Any], size_wh: tuple[int, int]) -> Outline:
    centre = np.array([_number(value, "x"), _number(value, "y")]) * size_wh / 100
    radii = np.array([_number(value, "radiusX"), _number(value, "radiusY")]) * size_wh / 100
    angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    outline = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
    return _rotated(outline, centre, _number({"rotation": value.get("rotation") or 0}, "rotation"))
