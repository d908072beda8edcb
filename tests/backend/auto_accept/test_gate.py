"""What is accepted, what is audited, what waits for review."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.auto_accept.calibration import FILE, Calibration, Evidence, conditions, read_calibration, write_calibration
from backend.auto_accept.gate import OFF_FILE, Gate, closed_reason, gate_of, switch_off, switch_off_reason
from backend.auto_accept.marks import accepted_by, accepted_regions, annotation_id
from backend.domain import LabelScore
from backend.registry.records import write_text
from backend.registry.registry import Registry, Version
from backend.settings import Settings

SURE, UNSURE = LabelScore("saree", 0.85), LabelScore("saree", 0.8499)
FIXED = Gate("v1", 0.85, {}, 0.0)
BY_LABEL = Gate("v1", None, {"saree": 0.85}, 0.0)


@pytest.mark.parametrize(
    ("gate", "label_scores", "decision"),
    [
        (FIXED, [SURE], "accept"),
        (FIXED, [SURE, UNSURE], "review"),
        (FIXED, [LabelScore("anything", 0.9)], "accept"),
        (FIXED, [], "review"),
        (BY_LABEL, [SURE, SURE], "accept"),
        (BY_LABEL, [SURE, LabelScore("blouse", 1.0)], "review"),
        (BY_LABEL, [], "review"),
        (Gate("v1", 0.85, {}, 1.0), [SURE], "audit"),
        (Gate("v1", 0.85, {}, 1.0), [UNSURE], "review"),
    ],
)
def test_every_region_must_be_sure_enough(gate: Gate, label_scores: list[LabelScore], decision: str) -> None:
    assert gate.decide(1, label_scores) == decision


def test_as_many_are_audited_as_asked_and_always_the_same() -> None:
    gate = Gate("yolo11n-seg-v3-abcdef", 0.5, {}, 0.05)
    audited = [task for task in range(20_000) if gate.is_audited(task)]
    assert 0.045 < len(audited) / 20_000 < 0.055
    # The next version audits the same: what was drawn and is not looked at yet stays drawn.
    assert audited == [task for task in range(20_000) if Gate("v4", None, {}, 0.05).is_audited(task)]
    assert not any(Gate("v4", 0.5, {}, 0.0).is_audited(task) for task in range(1000))


def test_audited_images_are_served_at_random_places_near_the_front() -> None:
    """4,000 tasks in jobs of 64, of which a third would be accepted: when does Label Studio serve the audits?"""
    rng = np.random.default_rng(0)
    gate = Gate("v3", 0.8, {}, 0.05)
    served: list[tuple[float, bool]] = []
    for first in range(0, 4000, 64):
        job = {task: float(score) for task, score in enumerate(rng.beta(4, 2, 64), first)}
        decisions = {task: gate.decide(task, [LabelScore("saree", score)]) for task, score in job.items()}
        reviewed = [job[task] for task, decision in decisions.items() if decision == "review"]
        served += [(score, False) for score in reviewed]
        served += [(gate.audit_score(task, reviewed), True) for task in job if decisions[task] == "audit"]
    places = [place for place, (_, audited) in enumerate(sorted(served)) if audited]
    assert len(places) > 40
    assert max(places) < len(served) / 2
    # Not in a row: a run of sure images would tell the annotator what they are.
    assert max(np.diff(places)) > 10 and min(places) < 60
    assert np.median(places) > 100
    # Where nothing is left for review, they are as unsure as what would be.
    scores = [gate.audit_score(task, []) for task in range(1000)]
    assert 0 <= min(scores) < 0.05 and 0.75 < max(scores) < 0.8


def test_the_note_says_what_to_look_at_and_does_not_tell_an_audit_from_a_review() -> None:
    assert FIXED.review_note([SURE, LabelScore("pallu", 0.43)]) == "For review: the model is least sure of 'pallu'."
    assert FIXED.review_note([SURE]) == "For review: the model is least sure of 'saree'."
    assert BY_LABEL.review_note([SURE, LabelScore("blouse", 0.8)]) == "For review: the model is least sure of 'blouse'."
    assert "nothing was found" in FIXED.review_note([])
    assert Gate("v1", None, {}, 0.0).review_note([UNSURE]) == ""


@pytest.fixture
def version(tmp_path: Path, starter: Path) -> Version:
    return add(Registry(tmp_path), starter)


def add(registry: Registry, weights: Path) -> Version:
    return registry.add(
        1,
        weights=weights,
        classes=("saree",),
        parent=None,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="starter",
    )


CALIBRATION = Calibration(
    precision=0.98,
    iou=0.8,
    images=600,
    needed_images=149,
    accepted_images=320,
    accepted_regions=330,
    right_regions=329,
    bound=0.986,
    labels=(Evidence("saree", 0.7, 330, 329),),
    conditions=conditions(Settings()),
)


def test_settings_and_calibration_make_the_gate(version: Version) -> None:
    assert not gate_of(version, Settings()).is_open
    assert gate_of(version, Settings(auto_accept=0.85)).threshold("anything") == 0.85
    calibrated = Settings(auto_accept="calibrated")
    assert not gate_of(version, calibrated).is_open
    assert "not calibrated" in (closed_reason(version, calibrated) or "")
    write_calibration(version, replace(CALIBRATION, labels=()))
    assert "320 of 600 held-out images" in (closed_reason(version, calibrated) or "")
    write_calibration(version, CALIBRATION)
    assert closed_reason(version, calibrated) is None
    assert read_calibration(version) == CALIBRATION
    gate = gate_of(version, calibrated)
    assert (gate.threshold("saree"), gate.threshold("blouse"), gate.audit_share) == (0.7, None, 0.05)
    # It was found under another promise, of other masks, of other finds, or of other polygons.
    for name, value in [
        ("auto_accept_precision", 0.99),
        ("auto_accept_iou", 0.9),
        ("refine", "auto"),
        ("refine", "builtin"),
        ("model_score_threshold", 0.5),
        ("max_regions", 3),
        ("polygon_parts", "largest"),
        ("polygon_tolerance_px", 9.0),
        ("speck_percent", 1.0),
    ]:
        other = calibrated.model_copy(update={name: value})
        assert not gate_of(version, other).is_open
        assert name.upper() in (closed_reason(version, other) or "")
    write_text(version, FILE, '{"precision": 0.98')
    assert not gate_of(version, calibrated).is_open


def test_the_gate_shuts_itself_for_one_version(version: Version, starter: Path) -> None:
    settings = Settings(auto_accept=0.5)
    assert switch_off_reason(version) is None and gate_of(version, settings).is_open
    switch_off(version, "3 of 9 were wrong")
    assert switch_off_reason(version) == "3 of 9 were wrong" and not gate_of(version, settings).is_open
    registry = Registry(version.files.all.copies)
    following = add(registry, starter)
    assert switch_off_reason(following) is None and gate_of(following, settings).is_open
    switch_off(following, "4 of 9 were wrong")
    assert switch_off_reason(version) == "3 of 9 were wrong"
    third = add(registry, starter)
    write_text(third, OFF_FILE, "?")
    assert not gate_of(third, settings).is_open


def region(**more: Any) -> dict[str, Any]:
    return {"id": "a", "type": "polygon", "from_name": "p", "score": 0.91, "meta": {"text": ["v1"]}, **more}


def annotation(result: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"id": 1, "result": result, "lead_time": None, **more}


def test_what_was_accepted_is_known_until_a_person_saves_it() -> None:
    hint = {"id": "m", "type": "textarea", "from_name": "message", "value": {"text": ["For review"]}}
    accepted = accepted_regions([region(), region(id="b"), hint], "v1")
    assert [one["id"] for one in accepted] == ["a", "b"]
    assert accepted[0]["meta"]["text"] == ["accepted by Drape: v1, score 0.91"]
    assert accepted_by(annotation(accepted)) == "v1"
    assert accepted_by(annotation(accepted, lead_time=3.5)) is None
    # A person drew one region more, or all.
    assert accepted_by(annotation([*accepted, region(id="c")])) is None
    assert accepted_by(annotation([region()])) is None
    # Somebody's script moved one, relabelled one, or took one away, and told no time.
    for changed in ({"value": {"points": [[1, 1]]}}, {"from_name": "q"}):
        assert accepted_by(annotation([{**accepted[0], **changed}, accepted[1]])) is None
    assert accepted_by(annotation(accepted[:1])) is None
    assert accepted_by(annotation(accepted, was_cancelled=True)) is None
    assert accepted_by(annotation([])) is None
    assert accepted_by(annotation([*accepted, *accepted_regions([region(id="d")], "v2")])) is None


def test_the_same_acceptance_has_the_same_number() -> None:
    assert annotation_id(1, 2, "v1") == annotation_id(1, 2, "v1")
    assert (
        len(
            {annotation_id(1, 2, "v1"), annotation_id(1, 3, "v1"), annotation_id(2, 2, "v1"), annotation_id(1, 2, "v2")}
        )
        == 4
    )
