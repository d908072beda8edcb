from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.domain import LabelledMask, Outlining
from backend.label_studio.label_config import parse_label_config
from backend.regions.content_hash import content_hash
from backend.regions.encode import encode
from training.annotations.truth import garment_labels, truth_of

XML = """<View>
  <Image name="image" value="$image"/><Image name="back" value="$back"/>
  <PolygonLabels name="p" toName="image"><Label value="saree" alias="sari"/><Label value="blouse"/></PolygonLabels>
  <BrushLabels name="b" toName="image"><Label value="kurta" exclusive="true"/></BrushLabels>
  <RectangleLabels name="r" toName="image"><Label value="saree"/><Label value="belt"/></RectangleLabels>
</View>"""
CONFIG = parse_label_config(XML)
WIDTH, HEIGHT = 40, 20


def box(region_id: str, x: int, y: int, right: int, bottom: int, label: str = "saree", **more: Any) -> dict[str, Any]:
    """A polygon around whole pixels."""
    corners = [(x, y), (right, y), (right, bottom), (x, bottom)]
    points = [[100 * one / WIDTH, 100 * other / HEIGHT] for one, other in corners]
    return {
        "id": region_id,
        "type": "polygonlabels",
        "from_name": "p",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "value": {"points": points, "polygonlabels": [label]},
        **more,
    }


def rectangle(label: str) -> dict[str, Any]:
    value = {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": [label]}
    return {**box("r", 0, 0, 1, 1), "type": "rectanglelabels", "from_name": "r", "value": value}


def relation(one: str, other: str) -> dict[str, Any]:
    return {"type": "relation", "from_id": one, "to_id": other, "direction": "right"}


# As Label Studio 1.23 writes what a <VectorLabels> tag draws.
LINE = {
    **box("l", 0, 0, 1, 1),
    "type": "vectorlabels",
    "value": {"vertices": [{"x": 1, "y": 2}, {"x": 30, "y": 40}], "closed": True, "vectorlabels": ["saree"]},
}
A, B, C = box("a", 0, 0, 10, 10), box("b", 20, 0, 30, 10), box("c", 0, 12, 40, 20)
# What a result says, and the garments that are in it: label and pixels.
CASES = [
    ("apart", [A, B], [("saree", 100), ("saree", 100)]),
    ("in one group", [A, {**B, "parentID": "a"}], [("saree", 200)]),
    ("in a chain of groups", [A, {**B, "parentID": "a"}, {**C, "parentID": "b"}], [("saree", 520)]),
    ("joined by a relation", [A, B, relation("b", "a")], [("saree", 200)]),
    (
        "a relation between labels",
        [A, box("b", 20, 0, 30, 10, "blouse"), relation("a", "b")],
        [("saree", 100), ("blouse", 100)],
    ),
    ("a relation to what is gone", [A, relation("a", "z")], [("saree", 100)]),
    ("parts that overlap", [A, box("b", 5, 0, 15, 10, parentID="a")], [("saree", 150)]),
    ("two layers", [A, box("b", 5, 0, 15, 10, "blouse")], [("saree", 100), ("blouse", 100)]),
    ("an exclusive one above", [A, box("b", 5, 0, 15, 10, "kurta")], [("saree", 50), ("kurta", 100)]),
    (
        "an exclusive one below",
        [box("a", 0, 0, 10, 10, "kurta"), box("b", 5, 0, 15, 10)],
        [("kurta", 50), ("saree", 100)],
    ),
    ("all covered", [A, box("b", 0, 0, 15, 10, "kurta")], [("kurta", 150)]),
    ("a box of what can be drawn", [rectangle("saree")], []),
    ("a box of what cannot", [rectangle("belt")], [("belt", 200)]),
    ("an earlier name", [box("a", 0, 0, 10, 10, "sari")], [("saree", 100)]),
    ("a label that is gone", [box("a", 0, 0, 10, 10, "turban")], []),
    ("in another image", [{**A, "to_name": "back"}, B], [("saree", 100)]),
    ("a click", [{"id": "k", "type": "keypoint", "value": {"x": 1, "y": 1, "labels": ["saree"]}}], []),
    ("nothing", [], []),
]


@pytest.mark.parametrize(("result", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_garments(result: list[dict[str, Any]], expected: list[tuple[str, int]]) -> None:
    found = truth_of(result, CONFIG)
    assert [(one.label, int(np.count_nonzero(one.mask))) for one in found.garments] == expected


@pytest.mark.parametrize(("result", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_labels_of_garments_without_drawing_them(
    result: list[dict[str, Any]], expected: list[tuple[str, int]], request: pytest.FixtureRequest
) -> None:
    # What later layers cover is seen in masks alone.
    covered = ["saree"] if request.node.callspec.id == "all covered" else []
    assert garment_labels(result, CONFIG) == covered + [label for label, _ in expected]


SAID = [
    ([rectangle("saree")], "a rectangle is not an outline of 'saree'"),
    ([box("a", 0, 0, 10, 10, "turban")], "'turban' is no longer in the label config"),
    ([A, box("b", 0, 0, 15, 10, "kurta")], "Region a: it is completely covered by later regions."),
    ([box("a", 5, 5, 5, 5)], "Region a: it covers no pixel."),
    ([A, LINE], "Region l: a vector is no outline of a garment."),
    ([{**A, "value": {**A["value"], "polygonlabels": ["saree", "blouse"]}}], "so it is 'saree' and not 'blouse'."),
    ([{**A, "value": {"points": A["value"]["points"]}}], "Region a: it has no label."),
]


@pytest.mark.parametrize(("result", "sentence"), SAID)
def test_what_is_in_no_garment_is_said(result: list[dict[str, Any]], sentence: str) -> None:
    (problem,) = truth_of(result, CONFIG).problems
    assert sentence in problem


BROKEN = {**A, "id": "x", "type": "brushlabels", "value": {"rle": "?", "brushlabels": ["kurta"]}}
PARTIAL = [
    ("a box of what can be drawn", [rectangle("saree"), box("b", 25, 12, 30, 20, "blouse")], True),
    ("a box and another garment of its label", [rectangle("saree"), box("b", 25, 12, 30, 20)], True),
    ("the box that asked for the garment in it", [rectangle("saree"), A], False),
    ("a box of what cannot be drawn", [rectangle("belt"), A], False),
    ("a box of a label that is gone", [rectangle("turban"), A], False),
    ("what cannot be read", [BROKEN, A], True),
    ("what covers nothing", [box("b", 5, 5, 5, 5), A], False),
    ("a label that is gone", [box("b", 0, 0, 10, 10, "turban"), A], False),
    ("a covered one", [A, box("b", 0, 0, 15, 10, "kurta")], False),
]


@pytest.mark.parametrize(("result", "is_partial"), [case[1:] for case in PARTIAL], ids=[case[0] for case in PARTIAL])
def test_garments_whose_shape_is_unknown_are_noticed(result: list[dict[str, Any]], is_partial: bool) -> None:
    assert truth_of(result, CONFIG).is_partial == is_partial


def test_what_drape_writes_in_parts_is_read_as_one_garment() -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:10, 2:12], mask[4:18, 20:36] = True, True
    regions = encode(LabelledMask(mask, "saree"), CONFIG, outlining=Outlining(), model_version="v")
    assert len(regions) == 2
    (garment,) = truth_of(regions, CONFIG).garments
    assert (garment.mask == mask).all()


def test_grouping_parts_is_a_change_and_new_ids_are_none() -> None:
    apart, grouped = content_hash([A, B]), content_hash([A, {**B, "parentID": "a"}])
    assert apart != grouped
    assert content_hash([{**A, "id": "x"}, {**B, "id": "y", "parentID": "x"}]) == grouped
    assert content_hash([A, B, relation("a", "b")]) not in (apart, grouped)
    assert content_hash([A, B, relation("b", "a")]) != content_hash([A, B, relation("a", "b")])
