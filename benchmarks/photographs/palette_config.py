"""The labels of a palette, and its label config."""

from __future__ import annotations

from backend.errors import DatasetError
from backend.label_studio.label_config import Label, LabelConfig, parse_label_config
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.palettes import PALETTES

# The labels of drawn figures.
FIGURES = "garments"


def palette_of(name: str) -> tuple[Label, ...]:
    """Returns the labels of a palette, or of drawn figures.

    Raises:
        DatasetError: there is no such palette.
    """
    known = {FIGURES: tuple(map(Label, GARMENTS)), **PALETTES}
    if name not in known:
        raise DatasetError(f"There is no palette '{name}'. There are: {', '.join(known)}.")
    return known[name]


def palette_config(name: str) -> LabelConfig:
    """Returns the label config of a palette.

    Raises:
        DatasetError: there is no such palette.
    """
    return parse_label_config(palette(palette_of(name)))
