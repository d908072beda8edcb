"""Regions of every kind as paths, and where their names are written."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from backend.domain import LabelledMask, Outlining
from backend.errors import RegionError
from backend.label_studio.label_colours import COLOURS
from backend.label_studio.label_config import parse_label_config
from backend.regions.encode import encode
from backend.review.outlines import DrawnRegion, drawn_regions, names
from label_studio_config.palette_xml import GARMENTS, palette

CONFIG = parse_label_config(palette(GARMENTS))
# Not square: swapped axes would show.
MASK = np.zeros((100, 200), bool)
MASK[20:60, 50:150] = True


def config_with(tag: str) -> str:
    labels = "".join(f'<Label value="{name}"/>' for name in GARMENTS)
    return (
        f'<View><Labels name="garment" toName="image">{labels}</Labels><Image name="image" value="$image"/>'
        f'<{tag} name="drawn" toName="image"/></View>'
    )


def points(path: str) -> np.ndarray[Any, Any]:
    return np.array(re.findall(r"(-?[\d.]+),(-?[\d.]+)", path), float)


def encoded(xml: str, mask: np.ndarray[Any, Any], label: str = "blouse") -> list[dict[str, Any]]:
    config = parse_label_config(xml)
    return encode(LabelledMask(mask, label, 0.9), config, outlining=Outlining(), model_version="v1")


@pytest.mark.parametrize("tag", ["Polygon", "Brush", "Rectangle"])
def test_each_kind_is_drawn_where_it_is(tag: str) -> None:
    xml = config_with(tag)
    (region,) = drawn_regions(encoded(xml, MASK), parse_label_config(xml))
    assert (region.name, region.colour) == ("blouse", COLOURS[1])
    drawn = points(region.path)
    assert drawn.min(0) == pytest.approx([25, 20], abs=0.6) and drawn.max(0) == pytest.approx([75, 60], abs=0.6)
    assert region.top[1] == pytest.approx(20, abs=0.6)


def test_a_large_mask_keeps_its_hole() -> None:
    mask = np.zeros((1500, 1200), bool)
    mask[300:1200, 300:900] = True
    mask[600:900, 500:700] = False
    xml = config_with("Brush")
    (region,) = drawn_regions(encoded(xml, mask), parse_label_config(xml))
    assert region.path.count("M") == 2


def test_a_garment_in_parts_is_named_once() -> None:
    mask = MASK.copy()
    mask[70:90, 50:150] = True
    regions = drawn_regions(encoded(palette(GARMENTS), mask), CONFIG)
    assert [region.name for region in regions] == ["blouse", ""]


def test_messages_and_regions_of_other_images_are_not_drawn() -> None:
    result = encoded(palette(GARMENTS), MASK)
    message = {"id": "m", "type": "textarea", "from_name": "message", "value": {"text": ["For review"]}}
    others = [{**region, "id": "other", "to_name": "another"} for region in result]
    assert len(drawn_regions([*result, message, *others], CONFIG)) == 1
    assert drawn_regions([], CONFIG) == ()


def test_a_label_that_the_config_lost_is_still_named() -> None:
    result = encoded(palette([*GARMENTS, "cape"]), MASK, "cape")
    assert drawn_regions(result, CONFIG)[0].name == "cape"


@pytest.mark.parametrize("value", [{"points": []}, {"points": [["x", 1]]}, {"points": [[1, float("nan")]]}, {}])
def test_what_cannot_be_drawn_is_said(value: dict[str, Any]) -> None:
    with pytest.raises(RegionError, match="Region r1: its polygon value"):
        drawn_regions([{"id": "r1", "type": "polygon", "value": {**value, "labels": ["saree"]}}], CONFIG)


def test_names_stay_in_the_picture_and_off_each_other() -> None:
    at = [(0.0, 0.0), (2.0, 1.0), (100.0, 50.0), (99.0, 51.0), (50.0, 100.0)]
    regions = [DrawnRegion("accessories", "#000000", "", top) for top in at]
    placed = names([*regions, DrawnRegion("", "#000000", "", (50, 50))], size_wh=(400, 600), height_px=25)
    assert len(placed) == 5
    for number, name in enumerate(placed):
        assert 0.28 * 25 * len(name.text) <= name.x <= 400 - 0.28 * 25 * len(name.text) and 25 <= name.y <= 600
        assert all(abs(name.y - other.y) >= 25 or abs(name.x - other.x) > 100 for other in placed[:number])


def test_every_line_stands_out() -> None:
    dark, light = (DrawnRegion("", colour, "", (0, 0)).halo for colour in ("#1111dd", "#f0e442"))
    assert (dark, light) == ("#fff", "#000")
