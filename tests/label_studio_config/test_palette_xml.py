from __future__ import annotations

from pathlib import Path

import pytest

from backend.label_studio.label_colours import COLOURS
from backend.label_studio.label_config import parse_label_config
from label_studio_config import palette_xml as module
from label_studio_config.palette_xml import GARMENTS, palette


@pytest.mark.parametrize(
    "labels",
    [
        GARMENTS,
        ("one",),
        ('a "quoted" <label> & more', "साड़ी"),  # what XML and people write
        tuple(f"label {number}" for number in range(20)),  # more than there are keys and colours
    ],
)
def test_a_palette_can_be_served(labels: tuple[str, ...]) -> None:
    config = parse_label_config(palette(labels))
    assert tuple(label.value for label in config.labels) == labels
    assert config.output_for(labels[0]).kind == "polygon"
    assert config.has_message_tag


def test_the_message_stands_above_the_image() -> None:
    xml = palette(GARMENTS)
    assert xml.index('name="message"') < xml.index("<Image")


def test_the_colours_differ() -> None:
    assert len(set(COLOURS)) == len(COLOURS)


def test_the_shipped_file_is_the_garment_palette() -> None:
    assert (Path(module.__file__).parent / "garments.xml").read_text() == palette(GARMENTS)
