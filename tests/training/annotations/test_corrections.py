"""What people made of what was shown, and that it is looked at once."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.label_studio.label_config import parse_label_config
from backend.regions.content_hash import content_hash
from tests.training.annotations.test_truth import CONFIG, XML, A, B, C, box
from training.annotations import corrections
from training.annotations.approvals import Approved
from training.annotations.corrections import Correction, CorrectionCache, compared

CLICK = {"id": "k", "type": "keypoint", "to_name": "image", "value": {"x": 1, "y": 1, "labels": ["saree"]}}
SAID = {"id": "m", "type": "textarea", "to_name": "image", "value": {"text": ["least sure: saree"]}}


def as_a_page_writes(region: dict[str, Any]) -> dict[str, Any]:
    """The same with 50 for 50.0."""
    written: dict[str, Any] = json.loads(json.dumps(region).replace(".0,", ",").replace(".0]", "]"))
    assert json.dumps(written) != json.dumps(region)
    return written


def turned(region: dict[str, Any]) -> dict[str, Any]:
    """The same polygon, begun at another corner."""
    points = region["value"]["points"]
    return {**region, "value": {**region["value"], "points": [*points[1:], points[0]]}}


WIDER = box("a", 0, 0, 12, 10)

# What was shown, what was approved, whether that is the same, and the IoU of each garment.
CASES = [
    ("as shown", [A, B], [A, B], True, (1.0, 1.0)),
    ("other ids and scores", [A], [{**A, "id": "x", "score": 0.3}], True, (1.0,)),
    (
        "as a page writes numbers",
        [A],
        [as_a_page_writes(A)],
        True,
        (1.0,),
    ),
    ("the same pixels by other points", [A], [turned(A)], True, (1.0,)),
    ("a message that has gone, a click that has stayed", [A, SAID], [CLICK, A], True, (1.0,)),
    ("nothing, approved", [], [], True, ()),
    ("a border moved: 100 of 120 pixels", [A], [WIDER], False, (0.8333,)),
    ("added", [A], [A, B], False, (1.0, 0.0)),
    ("removed", [A, B], [A], False, (1.0, 0.0)),
    ("another label: one removed, one added", [A], [box("a", 0, 0, 10, 10, "blouse")], False, (0.0, 0.0)),
    ("moved away: 20 of 180 pixels", [A], [box("a", 8, 0, 18, 10)], False, (0.0, 0.0)),
    ("all wrong", [A], [], False, (0.0,)),
    ("missed", [], [A], False, (0.0,)),
    ("two parts made one garment", [A, B], [A, {**B, "parentID": "a"}], False, (0.5, 0.0)),
]


@pytest.mark.parametrize(("shown", "approved", "same", "ious"), [one[1:] for one in CASES], ids=[c[0] for c in CASES])
def test_compared(
    shown: list[dict[str, Any]], approved: list[dict[str, Any]], same: bool, ious: tuple[float, ...]
) -> None:
    assert compared(shown, approved, CONFIG) == Correction(same, ious)


def approved(number: int, shown: list[dict[str, Any]], result: list[dict[str, Any]]) -> Approved:
    hashes = content_hash(result), content_hash(shown)
    return Approved(number, number, {}, result, hashes[0], shown=shown, from_prediction=True, shown_hash=hashes[1])


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hashes of what was really compared."""
    seen: list[str] = []

    def recorded(shown: Any, result: Any, config: Any) -> Correction:
        seen.append(content_hash(result))
        return compared(shown, result, config)

    monkeypatch.setattr(corrections, "compared", recorded)
    return seen


def test_each_is_compared_once(tmp_path: Path, looked_at: list[str]) -> None:
    path = tmp_path / "approvals" / "1.json"
    first, second = approved(1, [A], [A]), approved(2, [A], [WIDER])
    everything = [Correction(True, (1.0,)), Correction(False, (0.8333,))]

    def ask(*ones: Approved, xml: str = XML) -> tuple[list[Correction], int]:
        return CorrectionCache(path, parse_label_config(xml)).corrections(ones, timeout_s=60)

    assert ask(first, second) == (everything, 0)
    assert ask(second, first) == (everything[::-1], 0)
    assert len(looked_at) == 2
    # One that was corrected again, and one that is gone and comes back.
    changed = replace(second, result=[C], content_hash=content_hash([C]))
    assert ask(changed) == ([Correction(False, (0.0, 0.0))], 0)
    assert ask(first) == (everything[:1], 0)
    assert len(looked_at) == 4
    # Under another label config the same regions may be others.
    assert ask(first, xml=XML.replace('"saree" alias="sari"', '"saree"')) == (everything[:1], 0)
    assert len(looked_at) == 5


def test_only_what_people_began_with_a_prediction_that_is_known(tmp_path: Path) -> None:
    one = approved(1, [A], [A])
    others = [
        replace(one, from_prediction=False),
        replace(one, by_person=False),
        replace(one, shown=None, shown_hash=None),
    ]
    assert CorrectionCache(tmp_path / "1.json", CONFIG).corrections(others, timeout_s=60) == ([], 0)


def test_what_is_not_compared_in_time_is_left_to_the_next(tmp_path: Path) -> None:
    path, ones = tmp_path / "1.json", [approved(number, [A], [A]) for number in range(3)]
    assert CorrectionCache(path, CONFIG).corrections(ones, timeout_s=0) == ([], 3)
    assert CorrectionCache(path, CONFIG).corrections(ones[:2], timeout_s=60)[1] == 0
    found, left = CorrectionCache(path, CONFIG).corrections(ones, timeout_s=0)
    assert (len(found), left) == (2, 1)


@pytest.mark.parametrize("kept", ["{", "[]", '{"name": {"unchanged": true}}', '{"name": 1}'])
def test_what_is_kept_may_be_damaged(tmp_path: Path, kept: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "1.json"
    path.write_text(kept)
    with caplog.at_level(logging.WARNING):
        found, _ = CorrectionCache(path, CONFIG).corrections([approved(1, [A], [A])], timeout_s=60)
    assert found == [Correction(True, (1.0,))]
    assert caplog.records
