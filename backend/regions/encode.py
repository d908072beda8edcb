"""Writes masks as Label Studio's regions (polygon, brush, bitmask, rectangle), and messages to annotators."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from backend.domain import LabelledMask, Mask, Outlining
from backend.label_studio.config_xml import MESSAGE_NAME
from backend.label_studio.label_config import LabelConfig, OutputTag
from backend.regions.bitmask import mask_to_data_url
from backend.regions.brush import mask_to_rle
from backend.regions.mask_borders import without_specks
from backend.regions.polygons import Outline, decimals, mask_to_outlines


def encode(
    labelled: LabelledMask,
    config: LabelConfig,
    *,
    outlining: Outlining,
    model_version: str,
    original_wh: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Returns a mask's regions for the config's tag: one region, or a pair if the label is in a `<Labels>` palette.

    A mask in several parts may give several polygons. Those after the first become children of the first in Label
    Studio's region tree, so that they stay one garment. Specks and pinholes are removed. Brush and bitmask regions
    keep every other hole and part; `mask_to_outlines` describes how polygons treat holes.

    Args:
        labelled: an empty mask gives no region. With a `region_id` the first region comes in that one's place.
        original_wh: size of the photograph in pixels, if the mask belongs to a smaller picture of it.

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
        mask = without_specks(mask, speck_px=outlining.speck_px(mask.size))
        if original_wh is not None and output.kind != "rectangle":
            mask = cv2.resize(mask.view(np.uint8) * 255, original_wh, interpolation=cv2.INTER_LINEAR) > 127
        values = [_mask_value(mask, output.kind)]
    size_wh = original_wh or (width, height)
    return _regions(values, labelled.label, labelled.score, output, model_version, size_wh, labelled.region_id)


def encode_outlines(
    outlines: Sequence[Outline],
    label: str,
    config: LabelConfig,
    *,
    size_wh: tuple[int, int],
    model_version: str,
    original_wh: tuple[int, int] | None = None,
) -> list[dict[str, Any]]:
    """Returns the outlines, unchanged, as polygon regions of one garment; the label's tag must be a polygon tag.

    Args:
        outlines: `(N, 2)` each, pixels, x before y, in a picture of `size_wh`.
        original_wh: size of the photograph in pixels, if that picture is smaller.

    Raises:
        LabelConfigError: the config has no tag for the label.
    """
    values = [_polygon(outline, size_wh) for outline in outlines]
    return _regions(values, label, None, config.output_for(label), model_version, original_wh or size_wh)


def _mask_value(mask: Mask, kind: str) -> dict[str, Any]:
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
    """Returns a message to the annotator in the config's message control; empty if the config has no such control."""
    if not config.has_message_tag:
        return []
    region = {"id": new_region_id(), "type": "textarea", "from_name": MESSAGE_NAME, "to_name": config.image_tag}
    return [{**region, "value": {"text": [text]}}]


def new_region_id() -> str:
    """Returns an id that no other region has: Label Studio overwrites a region whose id it receives again."""
    return secrets.token_urlsafe(9)


def _regions(
    values: Sequence[dict[str, Any]],
    label: str,
    score: float | None,
    output: OutputTag,
    model_version: str,
    size_wh: tuple[int, int],
    region_id: str | None = None,
) -> list[dict[str, Any]]:
    """Returns the regions of one garment's parts; those after the first are children of the first."""
    regions: list[dict[str, Any]] = []
    names = [output.name_of(label)]
    for value in values:
        common: dict[str, Any] = {
            "id": (region_id if not regions else None) or new_region_id(),
            "to_name": output.to_name,
            "original_width": size_wh[0],
            "original_height": size_wh[1],
            "image_rotation": 0,
            "origin": "prediction",
            "meta": {"text": [model_version]},
        }
        if score is not None:
            common["score"] = round(float(score), 4)
        if regions:
            common["parentID"] = regions[0]["id"]
        is_bare = output.labels_tag is not None
        kind = output.kind if is_bare else f"{output.kind}labels"
        shape = value if is_bare else {**value, kind: names}
        regions.append({**common, "type": kind, "from_name": output.name, "value": shape})
        if is_bare:
            labels = {**value, "labels": names}
            regions.append({**common, "type": "labels", "from_name": output.labels_tag, "value": labels})
    return regions


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
