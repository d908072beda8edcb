"""Makes a label config from any list of labels: one palette for all tools."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from backend.label_studio.label_colours import colour_of
from backend.label_studio.label_config import Label

GARMENTS = ("saree", "blouse", "kurta", "bottoms", "jacket", "shawl", "dupatta", "top")

HOT_KEYS = "123456789"


def palette(labels: Sequence[str | Label]) -> str:
    """Makes a label config with one palette for all tools: smart clicks and boxes, polygons, words, the message line.

    The palette comes first, for its hot keys 1 to 9; the message line is above the image, where annotators see it.
    """
    full_labels = [Label(label) if isinstance(label, str) else label for label in labels]
    rows = "\n".join(f"    {_label(number, label)}" for number, label in enumerate(full_labels))
    return f"""<View>
  <Labels name="garment" toName="image" showInline="true">
{rows}
  </Labels>
  <View style="display:flex;gap:1em;align-items:center">
    <TextArea name="prompt" toName="image" smart="true" editable="true" rows="1" maxSubmissions="1"
      placeholder="find by words"/>
    <TextArea name="message" toName="image" editable="false" rows="1" maxSubmissions="1"
      placeholder="messages of the model"/>
  </View>
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>
  <Polygon name="polygon" toName="image"/>
  <KeyPoint name="click" toName="image" smart="true" smartOnly="true"/>
  <Rectangle name="box" toName="image" smart="true" smartOnly="true"/>
</View>
"""


def _label(number: int, label: Label) -> str:
    attributes = {"value": label.value, "background": colour_of(number)}
    if number < len(HOT_KEYS):
        attributes["hotkey"] = HOT_KEYS[number]
    # Label Studio assigns its own hot keys to the labels after the ninth.
    predicted_values = ",".join(sorted(label.predicted_values))
    attributes |= {
        name: text for name, text in (("prompt", label.prompt), ("predicted_values", predicted_values)) if text
    }
    return f"<Label {' '.join(f'{name}={quoteattr(text)}' for name, text in attributes.items())}/>"
