"""The labels of a palette, and its label config."""

from __future__ import annotations

from backend.errors import DatasetError
from backend.label_studio.label_config import Label, LabelConfig, parse_label_config
from label_studio_config.palette_xml import palette
from label_studio_config.palettes import PALETTES


def palette_of(name: str) -> tuple[Label, ...]:
    """Returns the labels of a palette.

    Raises:
        DatasetError: there is no such palette.
    """
    if name not in PALETTES:
        raise DatasetError(f"There is no palette '{name}'. There are: {', '.join(PALETTES)}.")
    return PALETTES[name]


def palette_config(name: str) -> LabelConfig:
    """Returns the label config of a palette.

    Raises:
        DatasetError: there is no such palette.
    """
    return parse_label_config(palette(palette_of(name)))
