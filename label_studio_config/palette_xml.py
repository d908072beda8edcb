"""Makes a label config from any list of labels: one palette for all tools, or two lists that Label Studio exports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from xml.sax.saxutils import quoteattr

from backend.label_studio.label_colours import colour_of
from backend.label_studio.label_config import Label

GARMENTS = ("saree", "blouse", "kurta", "bottoms", "jacket", "shawl", "dupatta", "top")

HOT_KEYS = "123456789"
PALETTE_TOOLS = """
  <Polygon name="polygon" toName="image"/>
  <KeyPoint name="click" toName="image" smart="true" smartOnly="true"/>
  <Rectangle name="box" toName="image" smart="true" smartOnly="true"/>"""
Style = Literal["palette", "lists"]


def palette(labels: Sequence[str | Label], style: Style = "palette") -> str:
    """Makes a label config with smart boxes, polygons and words, and the message line; in style `palette` with clicks.

    The labels of prompts come first, for their hot keys 1 to 9; the message line is above the image, where annotators
    see it.

    Args:
        style: `palette` has one list of labels for all tools. Label Studio's converter writes none of its polygons to
            COCO and YOLO. `lists` has a list for boxes and one for polygons, which the converter writes, and no clicks.
    """
    full_labels = [Label(label) if isinstance(label, str) else label for label in labels]
    rows = "\n".join(f"    {_label(number, label)}" for number, label in enumerate(full_labels))
    lists, tools = (_two_lists(rows, full_labels), "") if style == "lists" else (_one_palette(rows), PALETTE_TOOLS)
    return f"""<View>
{lists}
  <View style="display:flex;gap:1em;align-items:center">
    <TextArea name="prompt" toName="image" smart="true" editable="true" rows="1" maxSubmissions="1"
      placeholder="find by words"/>
    <TextArea name="message" toName="image" editable="false" rows="1" maxSubmissions="1"
      placeholder="messages of the model"/>
  </View>
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>{tools}
</View>
"""


def _one_palette(rows: str) -> str:
    return f"""  <Labels name="garment" toName="image" showInline="true">
{rows}
  </Labels>"""


def _two_lists(rows: str, labels: Sequence[Label]) -> str:
    # No <KeyPointLabels>: with those, Label Studio's converter writes every polygon to COCO as the class `default`, and
    # none to YOLO. No <Labels>: the page gives its label to an accepted polygon too, which then has two. No bare
    # <KeyPoint>: the page drops the chosen label as its tool is taken, and a click after a box brings nothing.
    # What a label means to the model stands in the first list, which is read first.
    drawn = "\n".join(
        f"    {_tag({'value': label.value, 'background': colour_of(number)})}" for number, label in enumerate(labels)
    )
    return f"""  <Header value="Labels of boxes" size="5"/>
  <RectangleLabels name="box" toName="image" smart="true" smartOnly="true" showInline="true">
{rows}
  </RectangleLabels>
  <Header value="Labels of polygons that you draw yourself" size="5"/>
  <PolygonLabels name="polygon" toName="image" showInline="true">
{drawn}
  </PolygonLabels>"""


def _label(number: int, label: Label) -> str:
    attributes = {"value": label.value, "background": colour_of(number)}
    if number < len(HOT_KEYS):
        attributes["hotkey"] = HOT_KEYS[number]
    # Label Studio assigns its own hot keys to the labels after the ninth.
    predicted_values = ",".join(sorted(label.predicted_values))
    attributes |= {
        name: text for name, text in (("prompt", label.prompt), ("predicted_values", predicted_values)) if text
    }
    return _tag(attributes)


def _tag(attributes: dict[str, str]) -> str:
    return f"<Label {' '.join(f'{name}={quoteattr(text)}' for name, text in attributes.items())}/>"
