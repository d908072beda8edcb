"""Masks ↔ Label Studio regions: polygon, brush, bitmask and rectangle (and ellipse, read only)."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from backend.bitmask import data_url_to_mask, mask_to_data_url
from backend.borders import tidied
from backend.brush import mask_to_rle, rle_to_mask
from backend.domain import LabelledMask, Mask, Outlining
from backend.errors import RegionError
from backend.label_config import LabelConfig, OutputTag
from backend.polygons import Outline, decimals, mask_to_outlines, outline_to_mask

# A region that claims a larger image is damaged: its mask would take a quarter of a gigabyte.
MOST_PIXELS = 1 << 28
# Percent or degrees: what is no less is damaged, or no number at all.
FAR = 1e6
SHAPES = ("polygon", "brush", "bitmask", "rectangle", "ellipse")
LABEL_KEYS = ("labels", *(f"{shape}labels" for shape in SHAPES))


def encode(
    labelled: LabelledMask,
    config: LabelConfig,
    *,
    outlining: Outlining,
    model_version: str,
    original_wh: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Regions in the config's own tag for the label: one, a pair where a palette names it, several for several parts.

    Specks and pinholes are in none of them. Brush and bitmask keep every other hole and part; of polygons
    `mask_to_outlines` says what becomes of holes.

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
    if output.kind == "polygon":
        values = [{"points": _percent(outline, mask), "closed": True} for outline in mask_to_outlines(mask, outlining)]
    else:
        mask = tidied(mask, speck_px=outlining.speck_px(mask.size))
        if original_wh is not None and output.kind != "rectangle":
            mask = cv2.resize(mask.view(np.uint8) * 255, original_wh, interpolation=cv2.INTER_LINEAR) > 127
        values = [_area(mask, output.kind)]
    height, width = labelled.mask.shape
    size_wh = original_wh or (width, height)
    return [region for value in values for region in _regions(value, labelled, output, model_version, size_wh)]


def decode(result: list[dict[str, Any]]) -> tuple[list[LabelledMask], list[str]]:
    """The labelled masks of an annotation, in drawing order, and a sentence for each region that could not be read.

    Prompts (key points, words), messages and regions without a label are no masks and are passed over.
    """
    shapes: dict[str, dict[str, Any]] = {}
    labels: dict[str, str] = {}
    for number, region in enumerate(result):
        identity, value = str(region.get("id", number)), region.get("value")
        if not isinstance(value, dict):
            continue
        if str(region.get("type", "")).removesuffix("labels") in SHAPES:
            shapes[identity] = region
        for key in LABEL_KEYS:
            if isinstance(value.get(key), list) and value[key]:
                labels[identity] = str(value[key][0])
    masks: list[LabelledMask] = []
    problems: list[str] = []
    for identity, region in shapes.items():
        if identity not in labels:
            problems.append(f"Region {identity} has no label.")
            continue
        try:
            masks.append(_decode_region(region, label=labels[identity], identity=identity))
        except RegionError as e:
            problems.append(f"Region {identity}: {e}")
    return masks, problems


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
    """SHA-256, 64 hex digits, of the regions' shapes and labels, whatever their ids and scores."""
    shown = [[region.get("from_name"), region.get("type"), region.get("value")] for region in result]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def fresh_id() -> str:
    """A region id that no other region has: Label Studio overwrites a region whose id comes again."""
    return secrets.token_urlsafe(9)


def _regions(
    value: dict[str, Any], labelled: LabelledMask, output: OutputTag, model_version: str, size_wh: tuple[int, int]
) -> list[dict[str, Any]]:
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
    if labelled.score is not None:
        common["score"] = round(float(labelled.score), 4)
    if output.labels_tag is None:
        kind = f"{output.kind}labels"
        return [{**common, "type": kind, "from_name": output.name, "value": {**value, kind: [labelled.label]}}]
    labels = {**value, "labels": [labelled.label]}
    return [
        {**common, "type": output.kind, "from_name": output.name, "value": value},
        {**common, "type": "labels", "from_name": output.labels_tag, "value": labels},
    ]


def _decode_region(region: dict[str, Any], *, label: str, identity: str) -> LabelledMask:
    value = region["value"]
    kind = str(region["type"]).removesuffix("labels")
    try:
        size_wh = int(region["original_width"]), int(region["original_height"])
        if min(size_wh) < 1:
            raise RegionError("its image has no size.")
        if size_wh[0] * size_wh[1] > MOST_PIXELS:
            raise RegionError(f"its image of {size_wh[0]} x {size_wh[1]} pixels is too large.")
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
    except (KeyError, TypeError, ValueError, IndexError) as e:
        raise RegionError(f"its {kind} value cannot be read ({e}).") from e
    if not mask.any():
        raise RegionError("it covers no pixel.")
    score = region.get("score")
    return LabelledMask(
        mask=mask,
        label=label,
        kind=kind,
        region_id=identity,
        score=float(score) if isinstance(score, int | float) else None,
    )


def _percent(outline: Outline, mask: Mask) -> list[list[float]]:
    height, width = mask.shape
    shares = np.round(outline * 100 / (width, height), decimals((width, height)))
    return shares.tolist()


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
