"""Which annotations and regions `drape export` chooses, without a Label Studio."""

from __future__ import annotations

from typing import Any

import pytest

from backend.label_studio.label_config import parse_label_config
from label_studio_config.palette_xml import palette
from training.data_out.export_data import Selection, _select

CONFIG = parse_label_config(palette(["saree", "blouse"]))


def drawn(label: str, score: object) -> list[dict[str, Any]]:
    """A polygon of the palette: Label Studio stores its shape and its label as two regions of one id."""
    both = {"id": label, "to_name": "image", "original_width": 100, "original_height": 100, "score": score}
    value = {"points": [[10, 10], [90, 10], [90, 90]]}
    return [
        {**both, "type": "polygon", "from_name": "polygon", "value": value},
        {**both, "type": "labels", "from_name": "garment", "value": {**value, "labels": [label]}},
    ]


# What an image shows, and the ids of the regions that are exported of sarees with a score of 0.5; None for no image.
CASES: list[tuple[list[dict[str, Any]], set[str] | None]] = [
    (drawn("saree", 0.9) + drawn("blouse", 0.9), {"saree"}),
    # An example without a saree.
    (drawn("blouse", 0.9), set()),
    (drawn("blouse", 0.1), set()),
    # A saree is in it.
    (drawn("saree", 0.1), None),
    (drawn("saree", 0.1) + drawn("blouse", 0.9), None),
    # A person's garment has no score, and what is no number is none.
    (drawn("saree", None), {"saree"}),
    (drawn("saree", "high"), {"saree"}),
    (drawn("saree", float("nan")), {"saree"}),
    ([], set()),
]


@pytest.mark.parametrize(("result", "expected"), CASES)
def test_an_image_comes_with_the_wanted_garments_or_as_an_example_without(
    result: list[dict[str, Any]], expected: set[str] | None
) -> None:
    task = {"id": 1, "data": {}, "annotations": [{"id": 1, "result": result}]}
    chosen = _select([task], CONFIG, lambda annotation: True, Selection(min_score=0.5), ["saree"])
    assert [{region["id"] for region in one.result} for one in chosen] == ([] if expected is None else [expected])
