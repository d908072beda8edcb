"""The colours of labels, in label configs and in reports."""

from __future__ import annotations

# The first seven are Okabe and Ito's. Each further one is, of all colours that are neither too dark nor too light, the
# farthest from those before it (distance in CAM02-UCS), for people with normal, red-blind and green-blind sight. Of
# thirty, no two are nearer than 9, of sixteen 14; the least visible difference is 1. Colours repeat for more labels.
COLOURS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#661111", "#ccddcc", "#554455",
    "#551177", "#993300", "#44eeff", "#6688ff", "#556655", "#1111dd", "#00cc88", "#bb1188", "#ccbbcc", "#44ee88",
    "#224433", "#449944", "#0055ff", "#bb5588", "#cc99aa", "#66cc55", "#557744", "#880033", "#443355", "#8888cc",
)  # fmt: skip


def colour_of(number: int) -> str:
    """The CSS colour of the label with that number."""
    return COLOURS[number % len(COLOURS)]
