from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backend.auto_accept.marks import accepted_regions
from backend.regions.content_hash import content_hash
from backend.settings import Settings
from tests.support import recorded
from training.annotations.approvals import (
    accepting_choices,
    approved_annotations,
    auto_accepted_times,
    new_annotations,
    rule_of,
)


def task(number: int, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "data": {"image": "/a.jpg"}, "annotations": list(annotations)}


def annotation(
    number: int, *, points: float = 1, at: str = "2026-11-20T10:00:00Z", skipped: bool = False
) -> dict[str, Any]:
    region = {"id": f"r{number}", "from_name": "p", "type": "polygonlabels", "value": {"points": [[points, 1]]}}
    return {"id": number, "result": [region], "updated_at": at, "was_cancelled": skipped}


def test_skipped_and_missing_annotations_do_not_count() -> None:
    tasks = [task(1, annotation(11)), task(2, annotation(21, skipped=True)), task(3)]
    assert [one.annotation_id for one in approved_annotations(tasks)] == [11]


def test_of_several_on_one_task_the_latest_counts() -> None:
    early, late = annotation(12, at="2026-11-20T09:00:00Z"), annotation(11, at="2026-11-20T11:00:00Z")
    assert [one.annotation_id for one in approved_annotations([task(1, early, late)])] == [11]


def verdict(*choices: str, name: str = "verdict") -> dict[str, Any]:
    return {"id": "c", "from_name": name, "type": "choices", "value": {"choices": list(choices)}}


def review(accepted: bool, at: str) -> dict[str, Any]:
    return {"accepted": accepted, "created_at": at}


RULES = [
    ("ground_truth", {"ground_truth": True}, True),
    ("ground_truth", {"ground_truth": False}, False),
    ("ground_truth", {}, False),
    ("ground_truth", {"ground_truth": True, "was_cancelled": True}, False),
    ("reviewed", {}, False),
    ("reviewed", {"reviews": []}, False),
    ("reviewed", {"reviews": [review(True, "2026-11-20T10"), review(False, "2026-11-20T11")]}, False),
    ("reviewed", {"reviews": [review(True, "2026-11-20T12"), review(False, "2026-11-20T11")]}, True),
    ("reviewed", {"last_action": "fixed_and_accepted"}, True),
    ("reviewed", {"last_action": "rejected"}, False),
    ("choice", {"result": [verdict("good", "approved")]}, True),
    ("choice", {"result": [verdict("ok")]}, True),
    ("choice", {"result": [verdict("approved", name="other")]}, False),
    ("choice", {"result": [verdict("again")]}, False),
    ("choice", {"result": [{"id": "r", "from_name": "verdict"}]}, False),
]


@pytest.mark.parametrize(("approval", "changes", "counts"), RULES)
def test_what_counts_is_what_the_setting_says(approval: Any, changes: dict[str, Any], counts: bool) -> None:
    rule = rule_of(Settings(approval=approval, approval_choice="verdict=approved"), {"approved", "ok"})
    found = approved_annotations([task(1, {**annotation(11), **changes})], rule=rule)
    assert [one.annotation_id for one in found] == ([11] if counts else [])


def test_the_one_with_ground_truth_goes_before_the_latest() -> None:
    starred = {**annotation(11, at="2026-11-20T09:00:00Z"), "ground_truth": True}
    later = annotation(12, at="2026-11-20T11:00:00Z")
    assert [one.annotation_id for one in approved_annotations([task(1, starred, later)])] == [11]


def test_of_those_that_are_not_approved_none_stands_in_for_one_that_is() -> None:
    rule = rule_of(Settings(approval="ground_truth"), ())
    starred = {**annotation(11, at="2026-11-20T09:00:00Z"), "ground_truth": True}
    assert [one.annotation_id for one in approved_annotations([task(1, starred, annotation(12))], rule=rule)] == [11]
    accepted = {**annotation(13), "result": accepted_regions(annotation(13)["result"], "v1")}
    both = [task(1, annotation(12), accepted)]
    assert approved_annotations(both, rule=rule) == []
    (found,) = approved_annotations(both, rule=rule, with_auto_accepted=True)
    assert (found.annotation_id, found.by_person) == (13, False)


# What Label Studio says of an annotation; when it was made, its seconds, whether it began with a prediction.
MADE = [
    ({}, ("2026-11-19T08:00:00Z", None, False)),
    ({"lead_time": 12.5}, ("2026-11-19T08:00:00Z", 12.5, False)),
    ({"lead_time": 12, "parent_prediction": 3}, ("2026-11-19T08:00:00Z", 12.0, True)),
    # No times: a clock that was set back, a program's, and what JSON allows besides.
    ({"lead_time": -3.0}, ("2026-11-19T08:00:00Z", None, False)),
    ({"lead_time": 0}, ("2026-11-19T08:00:00Z", None, False)),
    ({"lead_time": float("nan")}, ("2026-11-19T08:00:00Z", None, False)),
    ({"lead_time": "12"}, ("2026-11-19T08:00:00Z", None, False)),
    ({"created_at": None}, ("", None, False)),
    # Accepted by the service, then saved by a person: who began with what was accepted, the day it was saved.
    (
        {"lead_time": 4.2, "result": accepted_regions(annotation(11)["result"], "v1")},
        ("2026-11-20T10:00:00Z", 4.2, True),
    ),
]


@pytest.mark.parametrize(("changes", "expected"), MADE)
def test_how_an_annotation_was_made(changes: dict[str, Any], expected: tuple[str, float | None, bool]) -> None:
    made = {**annotation(11), "created_at": "2026-11-19T08:00:00Z", **changes}
    (one,) = approved_annotations([task(1, made)])
    assert one.by_person and (one.made_at, one.lead_time_s, one.from_prediction) == expected


def test_what_was_shown_is_known_by_its_hash() -> None:
    prediction = annotation(12, points=5)
    (one,) = approved_annotations([task(1, {**annotation(11), "prediction": {"result": prediction["result"]}})])
    assert one.shown_hash == content_hash(prediction["result"]) != one.content_hash
    (nothing,) = approved_annotations([task(1, {**annotation(11), "prediction": {}})])
    assert (nothing.shown, nothing.shown_hash) == (None, None)


def test_what_the_service_alone_has_annotated() -> None:
    def accepted(number: int) -> dict[str, Any]:
        regions = accepted_regions(annotation(number)["result"], "v1")
        return {**annotation(number), "result": regions, "created_at": "2026-11-19T08:00:00Z"}

    tasks = [
        task(1, accepted(11)),
        task(2, accepted(21), annotation(22)),
        task(3, accepted(31), annotation(32, skipped=True)),
        task(4, {**accepted(41), "lead_time": 3.0}),
        task(5, annotation(51)),
        task(6),
    ]
    assert auto_accepted_times(tasks) == {"1": "2026-11-19T08:00:00Z", "3": "2026-11-19T08:00:00Z"}
    (one,) = approved_annotations(tasks[:1], with_auto_accepted=True)
    assert (one.by_person, one.from_prediction, one.lead_time_s) == (False, False, None)


def test_the_choice_that_approves_is_known_by_its_alias_too() -> None:
    config = (
        '<View><Choices name="verdict" toName="i"><Choice value="approved" alias="ok"/></Choices>'
        '<Choices name="other" toName="i"><Choice value="approved" alias="yes"/></Choices></View>'
    )
    choosing = Settings(approval="choice", approval_choice="verdict=approved")
    assert accepting_choices(choosing, lambda: config) == {"approved", "ok"}
    assert accepting_choices(Settings(), lambda: config) == set()


def test_a_choice_must_be_named() -> None:
    for missing in ("", "verdict", "=approved"):
        with pytest.raises(ValidationError, match="APPROVAL_CHOICE"):
            Settings(approval="choice", approval_choice=missing)


def test_new_is_what_the_model_has_not_learnt_as_it_is_now() -> None:
    learnt = {str(one.annotation_id): one.content_hash for one in approved_annotations([task(1, annotation(11))])}
    same, edited, other = annotation(11), annotation(11, points=5), annotation(12)
    assert new_annotations(approved_annotations([task(1, same)]), learnt) == []
    for changed in (edited, other):
        assert len(new_annotations(approved_annotations([task(1, changed)]), learnt)) == 1


def test_the_hash_is_that_of_shapes_and_labels_alone() -> None:
    result = recorded("webhook_ANNOTATION_CREATED")["annotation"]["result"]
    renamed = [{**region, "id": "other", "score": 0.1} for region in result]
    assert content_hash(renamed) == content_hash(result)
    assert content_hash(result[:-1]) != content_hash(result)
