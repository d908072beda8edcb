"""Masks ↔ Label Studio regions: polygon, brush, bitmask and rectangle (and ellipse, read only)."""

from __future__ import annotations

import base64
import binascii
import io
import secrets
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from label_studio_sdk.converter import brush
from PIL import UnidentifiedImageError

# Bound here: Ultralytics later replaces `PIL.Image.open` by one that installs packages at a file which is no image.
from PIL.Image import open as open_picture

from backend.domain import LabelledMask, Mask
from backend.errors import RegionError
from backend.label_config import LabelConfig, OutputTag

# Polygons are traced and painted on a finer grid, so that the half pixel which OpenCV's outlines lose stays small.
GRID = 4
GRID_PIXELS = 4_000_000
# A part smaller than this share of its mask is a speck.
SPECK_SHARE = 0.004
LEAST_IOU = 0.985
TIGHTEN = 0.8
SHAPES = ("polygon", "brush", "bitmask", "rectangle", "ellipse")
LABEL_KEYS = ("labels", *(f"{shape}labels" for shape in SHAPES))

Outline = npt.NDArray[np.float64]


def encode(
    labelled: LabelledMask, config: LabelConfig, *, tolerance_px: float, model_version: str
) -> list[dict[str, Any]]:
    """Regions in the config's own tag for the label: one, a pair where a palette names it, several for several parts.

    Args:
        labelled: an empty mask gives no region.
        tolerance_px: how far a polygon may run from the mask's border.

    Raises:
        LabelConfigError: the config has no tag for the label.
    """
    if not labelled.mask.any():
        return []
    output = config.output_for(labelled.label)
    match output.kind:
        case "polygon":
            outlines = mask_to_outlines(labelled.mask, tolerance_px=tolerance_px)
            values = [{"points": _percent(outline, labelled.mask), "closed": True} for outline in outlines]
        case "brush":
            values = [{"format": "rle", "rle": mask_to_rle(labelled.mask)}]
        case "bitmask":
            values = [{"imageDataURL": mask_to_data_url(labelled.mask)}]
        case "rectangle":
            values = [_bounds(labelled.mask)]
    return [region for value in values for region in _regions(value, labelled, output, model_version)]


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


def message(text: str, config: LabelConfig) -> list[dict[str, Any]]:
    """A sentence for the annotator in the config's message control; nothing where it has none."""
    tag = config.message_tag
    if tag is None:
        return []
    value = {"text": [text]}
    return [{"id": fresh_id(), "type": "textarea", "from_name": tag.name, "to_name": tag.to_name, "value": value}]


def fresh_id() -> str:
    """A region id that no other region has: Label Studio overwrites a region whose id comes again."""
    return secrets.token_urlsafe(9)


def mask_to_outlines(mask: Mask, *, tolerance_px: float) -> list[Outline]:
    """Outlines `(N, 2)` in pixels, x before y, one for each part that is no speck; the largest first. Holes are filled.

    The tolerance is tightened until the outlines paint the filled mask again with IoU of at least 0.985.
    """
    left, top, window = _window(mask)
    grid = _grid_for(window)
    framed = np.pad(window.astype(np.uint8) * 255, 1)
    # Interpolated, so that a slanting border is a line and not a staircase, which would keep a point a pixel.
    fine = cv2.resize(framed, None, fx=grid, fy=grid, interpolation=cv2.INTER_LINEAR) >= 127
    contours, _ = cv2.findContours(fine.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(contour) for contour in contours]
    least = SPECK_SHARE * sum(areas)
    kept = [contours[i] for i in np.argsort(areas)[::-1] if areas[i] >= least]
    exact = _painted(kept, fine.shape)
    epsilon = tolerance_px * grid
    simple = [cv2.approxPolyDP(contour, epsilon, True) for contour in kept]
    while epsilon > 0.5 and not _alike(_painted(simple, fine.shape), exact):
        epsilon *= TIGHTEN
        simple = [cv2.approxPolyDP(contour, epsilon, True) for contour in kept]
    outlines = [contour if len(contour) >= 3 else whole for contour, whole in zip(simple, kept, strict=True)]
    return [(outline[:, 0].astype(np.float64) + 0.5) / grid + (left - 1, top - 1) for outline in outlines]


def joined_outline(mask: Mask, *, tolerance_px: float) -> Outline:
    """One closed outline `(N, 2)` in pixels, x before y, around every part of the mask, along bridges without width.

    A YOLO label holds one outline an instance.
    """
    first, *rest = mask_to_outlines(mask, tolerance_px=tolerance_px)
    joined = first
    for part in rest:
        gaps = np.linalg.norm(joined[:, None] - part[None], axis=2)
        here, there = np.unravel_index(int(gaps.argmin()), gaps.shape)
        walk = np.roll(part, -int(there), axis=0)
        # Out along the bridge, around the part, and back the same way.
        joined = np.concatenate([joined[: here + 1], walk, walk[:1], joined[here:]])
    return joined


def outline_to_mask(outline: Outline, *, size_wh: tuple[int, int]) -> Mask:
    """`bool (H, W)` of the pixels that lie at least half inside the closed `outline` `(N, 2)`, pixels, x before y."""
    width, height = size_wh
    mask = np.zeros((height, width), bool)
    inside = np.clip(outline, 0, (width, height))
    left, top = np.floor(inside.min(axis=0)).astype(int)
    right, bottom = np.maximum(np.ceil(inside.max(axis=0)).astype(int), (left + 1, top + 1))
    window = mask[top:bottom, left:right]
    if not window.size:
        return mask
    grid = _grid_for(window)
    fine = np.zeros((window.shape[0] * grid, window.shape[1] * grid), np.uint8)
    points = np.rint((inside - (left, top)) * grid - 0.5).astype(np.int32)
    cv2.fillPoly(fine, [points], 255)
    window |= cv2.resize(fine, window.shape[::-1], interpolation=cv2.INTER_AREA) >= 128
    return mask


def mask_to_rle(mask: Mask) -> list[int]:
    """Label Studio's brush encoding of the mask: run lengths of RGBA pixels whose alpha is the mask."""
    rgba = np.repeat(mask.astype(np.uint8).ravel() * 255, 4)
    return [int(number) for number in brush.encode_rle(rgba)]


def mask_to_data_url(mask: Mask) -> str:
    """A PNG whose alpha is the mask: an opaque one would paint the whole image."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., 3] = mask * np.uint8(255)
    encoded = cv2.imencode(".png", rgba)[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(encoded).decode()


def _regions(
    value: dict[str, Any], labelled: LabelledMask, output: OutputTag, model_version: str
) -> list[dict[str, Any]]:
    height, width = labelled.mask.shape
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
        match kind:
            case "polygon":
                outline = np.array(value["points"], np.float64).reshape(-1, 2) * size_wh / 100
                mask = outline_to_mask(_at_least(outline, 3), size_wh=size_wh)
            case "brush":
                mask = _rle_to_mask(value["rle"], size_wh)
            case "bitmask":
                mask = _data_url_to_mask(value["imageDataURL"], size_wh)
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


def _window(mask: Mask) -> tuple[int, int, Mask]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return left, top, mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]


def _grid_for(window: Mask) -> int:
    # On a large window half a pixel is nothing, and the fine grid would take much memory.
    return GRID if window.size <= GRID_PIXELS else 1 if window.size > 4 * GRID_PIXELS else 2


def _painted(contours: list[npt.NDArray[np.int32]], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    painted = np.zeros(shape, np.uint8)
    for contour in contours:
        cv2.fillPoly(painted, [contour], 1)
    return painted


def _alike(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> bool:
    return bool(np.count_nonzero(one & other) >= LEAST_IOU * np.count_nonzero(one | other))


def _percent(outline: Outline, mask: Mask) -> list[list[float]]:
    height, width = mask.shape
    return [[round(float(x), 4), round(float(y), 4)] for x, y in outline * 100 / (width, height)]


def _bounds(mask: Mask) -> dict[str, Any]:
    left, top, window = _window(mask)
    height, width = mask.shape
    return {
        "x": 100 * left / width,
        "y": 100 * top / height,
        "width": 100 * window.shape[1] / width,
        "height": 100 * window.shape[0] / height,
        "rotation": 0,
    }


def _at_least(outline: Outline, points: int) -> Outline:
    if len(outline) < points:
        raise RegionError(f"it has fewer than {points} points.")
    return outline


def _rle_to_mask(rle: list[int], size_wh: tuple[int, int]) -> Mask:
    width, height = size_wh
    flat = np.asarray(brush.decode_rle(rle), np.uint8)
    if flat.size != width * height * 4:
        raise RegionError(f"its brush holds {flat.size // 4} pixels, its image {width * height}.")
    return flat.reshape(height, width, 4)[..., 3] > 0


def _data_url_to_mask(url: str, size_wh: tuple[int, int]) -> Mask:
    try:
        picture = open_picture(io.BytesIO(base64.b64decode(url.split(",", 1)[1], validate=True)), formats=["PNG"])
        if picture.size != size_wh:
            raise RegionError(
                f"its bitmask is {picture.size[0]} x {picture.size[1]}, its image {size_wh[0]} x {size_wh[1]}."
            )
        return np.asarray(picture.convert("RGBA"))[..., 3] > 0
    except (binascii.Error, UnidentifiedImageError, OSError) as e:
        raise RegionError("its bitmask is not a PNG.") from e


def _turned(corners: Outline, pivot: Outline, degrees: float) -> Outline:
    angle = np.deg2rad(degrees)
    # Clockwise on the screen, where y points down.
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray(pivot + (corners - pivot) @ rotation)


def _rectangle(value: dict[str, Any], size_wh: tuple[int, int]) -> Outline:
    x, y, width, height = (float(value[key]) for key in ("x", "y", "width", "height"))
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]) * size_wh / 100
    # Label Studio turns a rectangle about its upper left corner.
    return _turned(corners, corners[0], float(value.get("rotation") or 0))


def _ellipse(value: dict[str, Any], size_wh: tuple[int, int]) -> Outline:
    centre = np.array([float(value["x"]), float(value["y"])]) * size_wh / 100
    radii = np.array([float(value["radiusX"]), float(value["radiusY"])]) * size_wh / 100
    turn = np.linspace(0, 2 * np.pi, 128, endpoint=False)
    outline = centre + np.stack([np.cos(turn), np.sin(turn)], axis=1) * radii
    return _turned(outline, centre, float(value.get("rotation") or 0))
