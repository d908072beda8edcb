from __future__ import annotations

import pytest

from backend.label_studio.label_config import parse_label_config
from label_studio_config.palette_xml import palette
from label_studio_config.palettes import FASHIONPEDIA, PALETTES, file_of

SIZES = {
    "saree": 5,
    "indo_western": 17,
    "fashionpedia": 27,
    "fashionpedia_23": 23,
    "deepfashion2": 13,
    "atr": 17,
    "street": 12,
    "clothing": 1,
}


@pytest.mark.parametrize("name", PALETTES)
def test_a_palette_is_whole(name: str) -> None:
    labels = PALETTES[name]
    assert len(labels) == SIZES[name]
    config = parse_label_config(file_of(name).read_text())
    assert file_of(name).read_text() == palette(labels), "write it anew: python -m label_studio_config.palettes"
    assert [(one.value, one.prompt, one.predicted_values) for one in config.labels] == [
        (one.value, one.prompt, one.predicted_values) for one in labels
    ]
    # Words find each label alone, and none has another's.
    assert len({one.phrase for one in labels}) == len(labels)
    assert all(config.label_named(one.phrase) == one.value for one in labels)


@pytest.mark.parametrize("name", PALETTES)
def test_no_two_labels_look_alike(name: str) -> None:
    xml = file_of(name).read_text()
    colours = [part.split('"')[0] for part in xml.split('background="')[1:]]
    assert len(colours) == len(set(colours)) == SIZES[name]


def test_the_names_of_data_sets_are_known() -> None:
    config = parse_label_config(palette(FASHIONPEDIA))
    assert config.label_for("blouse") == "shirt"
    assert config.label_for("T-Shirt") == "top"
    assert parse_label_config(palette(PALETTES["atr"])).label_for("Upper-clothes") == "upper clothes"
