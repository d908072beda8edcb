"""Turns Label Studio's context into points, boxes, words and the chosen label."""

from __future__ import annotations

from typing import Any

from backend.domain import Box, Point, Prompt
from backend.errors import PromptError
from backend.label_studio.label_config import LabelConfig

# The keys that may hold a region's chosen label, depending on the tag that it came from; `labels` is the palette's.
LABEL_KEYS = ("labels", "keypointlabels", "rectanglelabels")
# A longer text is no phrase: the models read only its first few dozen words.
MAX_CHARACTERS = 500
# No valid position is this far from the image.
MAX_PERCENT = 1e6


def parse_context(
    context: dict[str, Any], config: LabelConfig, *, size_wh: tuple[int, int], example_tag: str
) -> Prompt:
    """The annotator's prompt, in pixels of an image of `size_wh`.

    All prompts of the pending suggestion arrive together, in order; with a palette each arrives twice under one id, as
    a shape and as its label. The last chosen label counts. A rectangle whose tag or label has the name `example_tag`
    is an example.

    Raises:
        PromptError: there is no readable prompt, or the chosen label cannot be drawn; the message is for the annotator.
    """
    points: dict[str, Point] = {}
    boxes: dict[str, Box] = {}
    examples: set[str] = set()
    words: list[str] = []
    chosen: str | None = None
    for number, region in enumerate(_regions(context)):
        value = region.get("value")
        if not isinstance(value, dict):
            continue
        if region.get("to_name") not in (None, config.image_tag):
            raise PromptError(f"The label config draws nothing in this image: ask in the image '{config.image_tag}'.")
        region_id = str(region.get("id", number))
        label = _chosen_label(value, config)
        if example_tag in (label, region.get("from_name")):
            examples.add(region_id)
        if label != example_tag:
            chosen = label or chosen
        match _kind(region):
            case "keypoint":
                # Points restored from a draft carry no sign: absent means positive.
                positive = region.get("is_positive", True) is not False
                points[region_id] = _point(value, size_wh, positive=positive)
            case "rectangle":
                boxes[region_id] = _box(value, size_wh)
            case "textarea":
                words += _words(value)
    if sum(map(len, words)) > MAX_CHARACTERS:
        raise PromptError("The text is too long. Describe the garment in a few words.")
    if not (points or boxes or words):
        raise PromptError("The prompt is empty. Click on the garment, draw a box, or describe it in words.")
    return Prompt(
        points=tuple(points.values()),
        boxes=tuple(box for region_id, box in boxes.items() if region_id not in examples),
        words=tuple(dict.fromkeys(words)),
        examples=tuple(box for region_id, box in boxes.items() if region_id in examples),
        label=_drawable_label(chosen, config),
    )


def _regions(context: dict[str, Any]) -> list[dict[str, Any]]:
    result = context.get("result")
    return [region for region in result if isinstance(region, dict)] if isinstance(result, list) else []


def _kind(region: dict[str, Any]) -> str:
    # The label half of a pair has the type `labels`, which becomes '': it repeats the shape that the other half gives.
    return str(region.get("type", "")).removesuffix("labels")


def _chosen_label(value: dict[str, Any], config: LabelConfig) -> str | None:
    for key in LABEL_KEYS:
        labels = value.get(key)
        if isinstance(labels, list) and labels:
            return config.label_of(str(labels[0]))
    return None


def _drawable_label(chosen: str | None, config: LabelConfig) -> str | None:
    if chosen is None:
        # A single label need not be chosen.
        return config.labels[0].value if len(config.labels) == 1 else None
    if chosen not in config.label_values:
        raise PromptError(
            f"'{chosen}' can be clicked but not drawn: the label config needs it in a polygon, brush, bitmask or "
            "rectangle tag too."
        )
    return chosen


def _number(value: dict[str, Any], key: str) -> float:
    number = value.get(key)
    # Integers in JSON have no limit: one that is too large for a float is no position either.
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) < MAX_PERCENT:
        raise PromptError("The click has no valid position. Click again.")
    return float(number)


def _point(value: dict[str, Any], size_wh: tuple[int, int], *, positive: bool) -> Point:
    width, height = size_wh
    x, y = _number(value, "x") * width / 100, _number(value, "y") * height / 100
    return Point(x=min(max(x, 0.0), width), y=min(max(y, 0.0), height), positive=positive)


def _box(value: dict[str, Any], size_wh: tuple[int, int]) -> Box:
    width, height = size_wh
    x, y = _number(value, "x") * width / 100, _number(value, "y") * height / 100
    x_max, y_max = x + _number(value, "width") * width / 100, y + _number(value, "height") * height / 100
    box = Box(
        x_min=max(min(x, x_max), 0.0),
        y_min=max(min(y, y_max), 0.0),
        x_max=min(max(x, x_max), width),
        y_max=min(max(y, y_max), height),
    )
    if box.x_max - box.x_min < 1 or box.y_max - box.y_min < 1:
        raise PromptError("The box is too small. Draw it around the whole garment.")
    return box


def _words(value: dict[str, Any]) -> list[str]:
    text = value.get("text")
    lines = text if isinstance(text, list) else [text]
    return [line.strip() for line in lines if isinstance(line, str) and line.strip()]
