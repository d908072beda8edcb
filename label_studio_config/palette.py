"""Label configs: the garment palette, and one made from any list of labels."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

GARMENTS = ("saree", "blouse", "kurta", "bottoms", "jacket", "shawl", "dupatta", "top")

# Okabe and Ito's colours and Tol's, which colour-blind people tell apart; repeated where there are more labels.
COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#882255",
    "#44aa99", "#999933", "#332288", "#aa4499",
)  # fmt: skip
HOT_KEYS = "123456789"


def palette(labels: Sequence[str]) -> str:
    """A label config with one palette for all tools: smart clicks and boxes, polygons, words, and the message line.

    The palette comes first, for its hot keys 1 to 9; the message stands above the image, where it is seen.
    """
    rows = "\n".join(f"    {_label(number, label)}" for number, label in enumerate(labels))
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


def _label(number: int, label: str) -> str:
    colour = COLOURS[number % len(COLOURS)]
    hot_key = f" hotkey={quoteattr(HOT_KEYS[number])}" if number < len(HOT_KEYS) else ""
    return f"<Label value={quoteattr(label)} background={quoteattr(colour)}{hot_key}/>"
