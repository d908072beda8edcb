"""Approving and undoing, by one person and by two, in a real Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from backend.auto_accept.marks import accepted_by
from backend.errors import LabelStudioError, LabelStudioUnavailableError, ReviewError
from backend.label_studio.client import LabelStudio
from backend.regions.content_hash import content_hash
from backend.review.approval_mark import ApprovalMark
from backend.review.approve import REVIEWED, Approver, Outcome, reviewed_regions, undo, until_unavailable, was_reviewed
from backend.settings import Settings
from tests.projects import Predicted


def approver(predicted: Predicted, person: int) -> Approver:
    studio = predicted.studio
    return Approver(studio, predicted.number, studio.members(), person, mark=ApprovalMark(), seconds=2.5)


def tokens(outcomes: list[Outcome]) -> dict[int, tuple[int, str]]:
    return {one.task_id: (one.annotation_id or 0, one.updated_at) for one in outcomes if one.state == "done"}


def test_regions_are_marked_and_messages_left_out() -> None:
    result = [
        {"id": "a", "type": "polygon", "value": {"points": []}, "meta": {"text": ["old"]}},
        {"id": "m", "type": "textarea", "value": {"text": ["For review"]}},
    ]
    marked = reviewed_regions(result)
    assert [region["id"] for region in marked] == ["a"] and content_hash(marked) == content_hash(result[:1])
    assert was_reviewed({"result": marked}) and not was_reviewed({"result": result})
    assert accepted_by({"result": marked}) is None


def test_after_the_first_silence_nothing_is_tried() -> None:
    tried: list[int] = []

    def act(task_id: int) -> Outcome:
        tried.append(task_id)
        if task_id == 2:
            raise LabelStudioError("refused")
        if task_id == 3:
            raise LabelStudioUnavailableError("away")
        return Outcome(task_id, "done")

    outcomes = list(until_unavailable([1, 2, 3, 4], act))
    assert [one.state for one in outcomes] == ["done", "failed", "failed", "failed"]
    assert [one.reason for one in outcomes] == ["", "refused", "away", "away"] and tried == [1, 2, 3]


@pytest.mark.services
def test_it_is_stored_as_the_persons_annotation_and_undone(predicted: Predicted) -> None:
    anna = predicted.add_member("Anna")
    outcomes = approver(predicted, anna).approve(predicted.predictions)
    assert [one.state for one in outcomes] == ["done"] * 4
    for task in predicted.studio.tasks(predicted.number, predicted.tasks):
        (annotation,), (prediction,) = task["annotations"], task["predictions"]
        assert annotation["completed_by"] == anna and annotation["parent_prediction"] == prediction["id"]
        assert annotation["lead_time"] == 2.5 and not annotation["ground_truth"]
        assert content_hash(annotation["result"]) == content_hash(prediction["result"])
        assert all(region["meta"]["text"] == [REVIEWED] for region in annotation["result"])
    # The answer was lost, and the same is sent again.
    assert approver(predicted, anna).approve(predicted.predictions) == outcomes
    assert len(predicted.annotations(predicted.tasks[0])) == 1

    assert {one.state for one in undo(predicted.studio, predicted.number, tokens(outcomes))} == {"done"}
    assert not predicted.studio.count_annotated(predicted.number)
    # Twice is no failure, and what was undone can be approved again.
    assert {one.state for one in undo(predicted.studio, predicted.number, tokens(outcomes))} == {"done"}
    assert {one.state for one in approver(predicted, anna).approve(predicted.predictions)} == {"done"}


@pytest.mark.services
def test_of_two_people_with_the_same_sheet_the_second_is_told(predicted: Predicted) -> None:
    first, second, third, _ = predicted.tasks
    anna, ravi = predicted.add_member("Anna"), predicted.add_member("Ravi")
    approver(predicted, anna).approve({first: predicted.predictions[first]})
    predicted.studio.sdk.annotations.create(second, result=[], completed_by=anna)
    predicted.studio.sdk.annotations.create(third, result=[], completed_by=anna, was_cancelled=True)
    outcomes = approver(predicted, ravi).approve(predicted.predictions)
    assert [one.state for one in outcomes] == ["left"] * 3 + ["done"]
    name = predicted.studio.members()[anna]
    assert [one.reason for one in outcomes[:3]] == [
        f"was approved meanwhile by {name}.",
        f"was annotated meanwhile by {name}.",
        f"was skipped meanwhile by {name}.",
    ]
    assert [len(predicted.annotations(task_id)) for task_id in predicted.tasks] == [1] * 4


@pytest.mark.services
def test_two_people_at_the_same_moment_store_one(predicted: Predicted, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ravi = predicted.add_member("Anna"), predicted.add_member("Ravi")
    task_id = predicted.tasks[0]
    predictions = {task_id: predicted.predictions[task_id]}
    later, read = approver(predicted, ravi), LabelStudio.tasks

    def then_anna(self: LabelStudio, *given: Any) -> list[dict[str, Any]]:
        """Reads the tasks for Ravi; Anna stores hers before he does."""
        monkeypatch.setattr(LabelStudio, "tasks", read)
        found = read(self, *given)
        approver(predicted, anna).approve(predictions)
        return found

    monkeypatch.setattr(LabelStudio, "tasks", then_anna)
    (outcome,) = later.approve(predictions)
    assert outcome.state == "left" and "was approved meanwhile by Anna" in outcome.reason
    assert [one["completed_by"] for one in predicted.annotations(task_id)] == [anna]


@pytest.mark.services
def test_what_somebody_works_on_or_what_is_gone_is_left(predicted: Predicted) -> None:
    begun, predicted_anew, deleted, plain = predicted.tasks
    studio, person = predicted.studio, predicted.add_member("Anna")
    studio.send("POST", f"/api/tasks/{begun}/drafts", json={"result": []}).raise_for_status()
    studio.delete_prediction(predicted.predictions[predicted_anew])
    studio.sdk.tasks.delete(str(deleted))
    outcomes = {one.task_id: one for one in approver(predicted, person).approve(predicted.predictions)}
    assert {task_id: one.state for task_id, one in outcomes.items()} == dict.fromkeys(predicted.tasks, "left") | {
        plain: "done"
    }
    assert "somebody" in outcomes[begun].reason and "another prediction" in outcomes[predicted_anew].reason
    assert "deleted" in outcomes[deleted].reason
    with pytest.raises(ReviewError):
        approver(predicted, 4711).approve(predicted.predictions)


@pytest.mark.services
@pytest.mark.parametrize("change", ["saved", "begun"])
def test_what_somebody_has_changed_since_stays(predicted: Predicted, change: str) -> None:
    person, task_id = predicted.add_member("Anna"), predicted.tasks[0]
    outcomes = approver(predicted, person).approve({task_id: predicted.predictions[task_id]})
    (annotation,) = predicted.annotations(task_id)
    changes: dict[str, Callable[[], object]] = {
        "saved": lambda: predicted.studio.sdk.annotations.update(annotation["id"], lead_time=9.0),
        "begun": lambda: predicted.studio.send(
            "POST", f"/api/tasks/{task_id}/annotations/{annotation['id']}/drafts", json={"result": []}
        ).raise_for_status(),
    }
    changes[change]()
    (outcome,) = undo(predicted.studio, predicted.number, tokens(outcomes))
    assert outcome.state == "left" and "changed" in outcome.reason and len(predicted.annotations(task_id)) == 1


@pytest.mark.services
def test_without_label_studio_nothing_is_done(predicted: Predicted, reviewed_settings: Settings) -> None:
    away = LabelStudio(reviewed_settings.model_copy(update={"label_studio_url": "http://127.0.0.1:1"}))
    with pytest.raises(LabelStudioUnavailableError):
        replace(approver(predicted, 1), label_studio=away).approve(predicted.predictions)
    with pytest.raises(LabelStudioUnavailableError):
        undo(away, predicted.number, {predicted.tasks[0]: (1, "")})
