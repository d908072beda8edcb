"""Masks ↔ Label Studio regions: polygon, brush, bitmask and rectangle (and ellipse, read only)."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from backend.domain import LabelledMask, Mask, Outlining
from backend.errors import RegionError
from backend.label_studio.label_config import LabelConfig, OutputTag
from backend.regions.bitmask import data_url_to_mask, mask_to_data_url
from backend.regions.brush import mask_to_rle, rle_to_mask
from backend.regions.mask_borders import tidied
from backend.regions.polygons import Outline, decimals, mask_to_outlines, outline_to_mask

# A region that claims a larger image is damaged: its mask would take a quarter of a gigabyte.
MOST_PIXELS = 1 << 28
# Percent or degrees: what is no less is damaged, or no number at all.
FAR = 1e6
SHAPES = ("polygon", "brush", "bitmask", "rectangle", "ellipse")
# What names other regions: the one above in a group, and the two ends of a relation.
LINKS = ("parentID", "from_id", "to_id")
LABEL_KEYS = ("labels", *(f"{shape}labels" for shape in SHAPES))


@dataclass(frozen=True)
class Shape:
    """A region that has a shape: itself, which of `SHAPES` it is, and its label; None where it has none."""

    region: dict[str, Any]
    kind: str
    label: str | None


def encode(
    labelled: LabelledMask,
    config: LabelConfig,
    *,
    outlining: Outlining,
    model_version: str,
    original_wh: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Regions in the config's own tag for the label: one, a pair where a palette names it, several for several parts.

    Parts after the first lie below it in Label Studio's tree of regions: so they stay one garment. Specks and pinholes
    are in none of them. Brush and bitmask keep every other hole and part; of polygons `mask_to_outlines` says what
    becomes of holes.

    Args:
        labelled: an empty mask gives no region.
        original_wh: size of the photograph in pixels, where the mask is of a smaller picture of it.

    Raises:
        LabelConfigError: the config has no tag for the label.
    """
    if not labelled.mask.any():
        return []
    output = config.output_for(labelled.label)
    mask = labelled.mask
    height, width = mask.shape
    if output.kind == "polygon":
        values = [_polygon(outline, (width, height)) for outline in mask_to_outlines(mask, outlining)]
    else:
        mask = tidied(mask, speck_px=outlining.speck_px(mask.size))
        if original_wh is not None and output.kind != "rectangle":
            mask = cv2.resize(mask.view(np.uint8) * 255, original_wh, interpolation=cv2.INTER_LINEAR) > 127
        values = [_area(mask, output.kind)]
    return _grouped(values, labelled.label, labelled.score, output, model_version, original_wh or (width, height))


def encode_outlines(
    outlines: Sequence[Outline],
    label: str,
    config: LabelConfig,
    *,
    size_wh: tuple[int, int],
    model_version: str,
    original_wh: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Polygon regions of outlines as they are, the parts of one garment: for a label whose tag is of polygons.

    Args:
        outlines: `(N, 2)` each, pixels, x before y, of a picture of `size_wh`.
        original_wh: size of the photograph in pixels, where that picture is not as large.

    Raises:
        LabelConfigError: the config has no tag for the label.
    """
    values = [_polygon(outline, size_wh) for outline in outlines]
    return _grouped(values, label, None, config.output_for(label), model_version, original_wh or size_wh)


def decode(result: Sequence[Any]) -> tuple[list[LabelledMask], list[str]]:
    """The labelled masks of an annotation, in drawing order, and a sentence for each region that could not be read.

    Prompts (key points, words), messages and regions without a label are no masks and are passed over.
    """
    masks: list[LabelledMask] = []
    problems: list[str] = []
    for one in decoded(result):
        if isinstance(one, str):
            problems.append(one)
        else:
            masks.append(one)
    return masks, problems


def decoded(result: Sequence[Any], *, size_wh: tuple[int, int] | None = None) -> Iterator[LabelledMask | str]:
    """What `decode` gives, one by one: hundreds of masks of a large photograph do not fit into memory together.

    Args:
        size_wh: regions of images of any other size are passed over, before anything is painted.
    """
    for identity, shape in shapes(result).items():
        if shape.label is None:
            yield f"Region {identity} has no label."
            continue
        try:
            original_wh = _original_wh(shape.region)
            if size_wh in (None, original_wh):
                yield _decode_region(shape.region, original_wh, label=shape.label, identity=identity)
        except RegionError as e:
            yield f"Region {identity}: {e}"


def shapes(result: Sequence[Any]) -> dict[str, Shape]:
    """An annotation's regions that have a shape, by id, in drawing order; none is drawn."""
    found: dict[str, dict[str, Any]] = {}
    labels: dict[str, str] = {}
    for number, region in enumerate(result):
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict):
            continue
        identity = str(region.get("id", number))
        if _kind(region) in SHAPES:
            found[identity] = region
        for key in LABEL_KEYS:
            if isinstance(value.get(key), list) and value[key]:
                labels[identity] = str(value[key][0])
    return {identity: Shape(region, _kind(region), labels.get(identity)) for identity, region in found.items()}


def _area(mask: Mask, kind: str) -> dict[str, Any]:
    match kind:
        case "brush":
            return {"format": "rle", "rle": mask_to_rle(mask)}
        case "bitmask":
            return {"imageDataURL": mask_to_data_url(mask)}
        case "rectangle":
            return _bounds(mask)
        case _:
            raise ValueError(f"No region of type '{kind}' is written.")


def message(text: str, config: LabelConfig) -> list[dict[str, Any]]:
    """A sentence for the annotator in the config's message control; nothing where it has none."""
    tag = config.message_tag
    if tag is None:
        return []
    value = {"text": [text]}
    return [{"id": fresh_id(), "type": "textarea", "from_name": tag.name, "to_name": tag.to_name, "value": value}]


def content_hash(result: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256, 64 hex digits, of the regions' shapes, labels, groups and relations, whatever their ids and scores."""
    result = [region for region in result if isinstance(region, Mapping)]
    place = {str(region["id"]): number for number, region in enumerate(result) if "id" in region}
    shown = [
        [region.get("from_name"), region.get("type"), region.get("value")]
        + [place.get(str(region[key])) for key in LINKS if region.get(key)]
        for region in result
    ]
    # Label Studio's page writes 50 where 50.0 was stored.
    plain = json.loads(json.dumps(shown), parse_float=_plain)
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _plain(number: str) -> float | int:
    value = float(number)
    return int(value) if value.is_integer() else value


def fresh_id() -> str:
    """A region id that no other region has: Label Studio overwrites a region whose id comes again."""
    return secrets.token_urlsafe(9)


def _grouped(
    values: Sequence[dict[str, Any]], label: str, score: float | None, output: OutputTag, model_version: str,
    size_wh: tuple[int, int],
) -> list[dict[str, Any]]:  # fmt: skip
    """Regions of one garment's parts: those after the first lie below it."""
    parts = [_regions(value, label, score, output, model_version, size_wh) for value in values]
    for part in parts[1:]:
        for region in part:
            region["parentID"] = parts[0][0]["id"]
    return [region for part in parts for region in part]


def _regions(
    value: dict[str, Any], label: str, score: float | None, output: OutputTag, model_version: str,
    size_wh: tuple[int, int],
) -> list[dict[str, Any]]:  # fmt: skip
    width, height = size_wh
    common: dict[str, Any] = {
        "id": fresh_id(),
        "to_name": output.to_name,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "origin": "prediction",
        "meta": {"text": [model_version]},
    }
    if score is not None:
        common["score"] = round(float(score), 4)
    if output.labels_tag is None:
        kind = f"{output.kind}labels"
        return [{**common, "type": kind, "from_name": output.name, "value": {**value, kind: [label]}}]
    labels = {**value, "labels": [label]}
    return [
        {**common, "type": output.kind, "from_name": output.name, "value": value},
        {**common, "type": "labels", "from_name": output.labels_tag, "value": labels},
    ]


def _original_wh(region: dict[str, Any]) -> tuple[int, int]:
    """Size of the region's image, in pixels."""
    try:
        width, height = int(region["original_width"]), int(region["original_height"])
    except (KeyError, TypeError, ValueError, OverflowError) as e:
        raise RegionError("its image has no size.") from e
    if min(width, height) < 1:
        raise RegionError("its image has no size.")
    if max(width, height) > MOST_PIXELS or width * height > MOST_PIXELS:
        raise RegionError(f"its image is too large: more than {MOST_PIXELS:,} pixels.")
    return width, height


def _decode_region(region: dict[str, Any], size_wh: tuple[int, int], *, label: str, identity: str) -> LabelledMask:
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
                raise RegionError(f"the region type '{kind}' is not known.")
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as e:
        raise RegionError(f"its {kind} value cannot be read ({e}).") from e
    if not mask.any():
        raise RegionError("it covers no pixel.")
    score = region.get("score")
    return LabelledMask(
        mask=mask,
        label=label,
        kind=kind,
        region_id=identity,
        # JSON's integers know no bounds, which a score has.
        score=float(score) if isinstance(score, int | float) and abs(score) < FAR else None,
    )


def _kind(region: Mapping[str, Any]) -> str:
    return str(region.get("type", "")).removesuffix("labels")


def _polygon(outline: Outline, size_wh: tuple[int, int]) -> dict[str, Any]:
    return {"points": np.round(outline * 100 / size_wh, decimals(size_wh)).tolist(), "closed": True}


def _bounds(mask: Mask) -> dict[str, Any]:
    height, width = mask.shape
    left, top, wide, high = cv2.boundingRect(mask.view(np.uint8))
    return {
        "x": 100 * left / width,
        "y": 100 * top / height,
        "width": 100 * wide / width,
        "height": 100 * high / height,
        "rotation": 0,
    }


def _points(points: object) -> Outline:
    """`(N, 2)`, percent."""
    outline = np.array(points, np.float64).reshape(-1, 2)
    if len(outline) < 3:
        raise RegionError("it has fewer than 3 points.")
    if not (np.abs(outline) < FAR).all():
        raise RegionError("its points lie nowhere near the image.")
    return outline


def _number(value: dict[str, Any], key: str) -> float:
    number = float(value[key])
    if not abs(number) < FAR:
        raise RegionError(f"its '{key}' is {number}.")
    return number


def _turned(corners: Outline, pivot: Outline, degrees: float) -> Outline:
    angle = np.deg2rad(degrees)
    # Clockwise on the screen, where y points down.
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(pivot + (corners - pivot) @ rotation)


def _rectangle(value: dict[str, Any], size_wh: tuple[int, int]) -> Outline:
    x, y, width, height = (_number(value, key) for key in ("x", "y", "width", "height"))
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]) * size_wh / 100
    # Label Studio turns a rectangle about its upper left corner.
    return _turned(corners, corners[0], _number({"rotation": value.get("rotation") or 0}, "rotation"))


def _ellipse(value: dict[str, Any], size_wh: tuple[int, int]) -> Outline:
    centre = np.array([_number(value, "x"), _number(value, "y")]) * size_wh / 100
    radii = np.array([_number(value, "radiusX"), _number(value, "radiusY")]) * size_wh / 100
    turn = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    outline = centre + np.stack([np.cos(turn), np.sin(turn)], axis=1) * radii
    return _turned(outline, centre, _number({"rotation": value.get("rotation") or 0}, "rotation"))
