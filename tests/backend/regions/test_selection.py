"""Which finds become regions, and under which label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from backend.domain import Detection
from backend.label_studio.label_config import parse_label_config
from backend.regions.selection import select_garments, unknown_labels, unused_classes, without_duplicates

CONFIG = parse_label_config(
    """<View><Image name="image" value="$image"/>
    <PolygonLabels name="sure" toName="image" model_score_threshold="0.6">
      <Label value="Saree"/><Label value="Blouse" predicted_values="top, choli"/></PolygonLabels>
    <BrushLabels name="any" toName="image"><Label value="Belt" alias="sash"/></BrushLabels>
    <RectangleLabels name="people" toName="image" model_skip="true"><Label value="Bag"/></RectangleLabels></View>"""
)


def strip(left: int, right: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((60, 200), bool)
    mask[10:50, left:right] = True
    return mask


def one(name: str, score: float, left: int = 0, right: int = 40, mask_score: float = 1.0) -> Detection:
    return Detection(strip(left, right), name, score, mask_score)


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        (one("saree", 0.6), ("Saree", 0.6)),
        (one("SAREE", 0.59), None),  # its tag's own threshold
        (one("top", 0.9), ("Blouse", 0.9)),
        (one("Choli", 0.9), ("Blouse", 0.9)),
        (one("sash", 0.3), ("Belt", 0.3)),  # the default threshold
        (one("sash", 0.24), None),
        (one("bag", 0.99), None),  # left to people
        (one("umbrella", 0.99), None),
        (one("saree", 0.8, mask_score=0.5), ("Saree", 0.4)),  # thresholds are of the class, scores of both
    ],
)
def test_labels_and_thresholds(detection: Detection, expected: tuple[str, float] | None) -> None:
    found = select_garments([detection], CONFIG, default_threshold=0.25, max_regions=100)
    assert [(region.label, region.score) for region in found] == ([expected] if expected else [])


def test_one_garment_under_two_names_is_the_surer_ones() -> None:
    finds = [one("top", 0.7, 0, 40), one("saree", 0.9, 0, 38), one("sash", 0.5, 0, 15), one("sash", 0.4, 100, 140)]
    found = select_garments(finds, CONFIG, default_threshold=0.25, max_regions=100)
    assert [(region.label, region.score) for region in found] == [("Saree", 0.9), ("Belt", 0.5), ("Belt", 0.4)]
    # A class that is no label takes nothing away from one that is.
    found = select_garments([one("bag", 0.99), one("saree", 0.7)], CONFIG, default_threshold=0.25, max_regions=100)
    assert [region.label for region in found] == ["Saree"]


def test_a_jacket_over_a_kurta_stays() -> None:
    pair = [one("kurta", 0.9, 0, 60), one("jacket", 0.8, 0, 25)]
    assert without_duplicates(pair) == pair
    assert without_duplicates([]) == []


def test_no_more_than_asked_and_the_surest_of_them() -> None:
    finds = [one("sash", 0.3 + 0.05 * number, 20 * number, 20 * number + 15) for number in range(8)]
    found = select_garments(finds, CONFIG, default_threshold=0.25, max_regions=3)
    assert [region.score for region in found] == [0.65, 0.6, 0.55]


def test_what_model_and_config_do_not_share() -> None:
    assert unknown_labels(CONFIG, ["saree", "choli"]) == ["Belt"]
    assert unused_classes(CONFIG, ["saree", "umbrella", "bag"]) == ["umbrella"]
