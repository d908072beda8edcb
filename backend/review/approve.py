"""Stores the predictions that a person approved on a sheet as that person's annotations, and undoes it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from backend.auto_accept.marks import accepted_by
from backend.errors import LabelStudioError, LabelStudioUnavailableError, ReviewError
from backend.label_studio.client import LabelStudio
from backend.review.approval_mark import ApprovalMark

# In the regions of an annotation that was approved on a sheet; Label Studio shows it beside the region.
REVIEWED = "approved on the review sheet"
# Any constant would do: it keeps these ids apart from other UUIDs.
NAMESPACE = uuid.UUID("0f6e2b52-6c0e-4a44-9a57-7a8e6f1d3c90")


@dataclass(frozen=True)
class Outcome:
    """What became of one task.

    Attributes:
        state: `done`; `left` as it is, for good; or `failed`, which may be tried again.
        reason: a sentence, unless it is done.
        annotation_id, updated_at: the annotation that is stored, and when it was; `updated_at` tells whether anybody
            has changed it since.
    """

    task_id: int
    state: Literal["done", "left", "failed"]
    reason: str = ""
    annotation_id: int | None = None
    updated_at: str = ""


@dataclass(frozen=True)
class Approver:
    """Approves in one project in the name of one of its members.

    Attributes:
        members: user id → name, of all members.
        seconds: how long each image was looked at, on average.
    """

    label_studio: LabelStudio
    project_id: int
    members: Mapping[int, str]
    person: int
    mark: ApprovalMark
    seconds: float

    def approve(self, predictions: Mapping[int, int]) -> list[Outcome]:
        """Stores annotations of the tasks, unless somebody has annotated or begun one; safe to run again.

        Args:
            predictions: task id → id of the prediction that was looked at.

        Raises:
            ReviewError: the person is no member.
            LabelStudioError: Label Studio is unreachable, or refuses the request; nothing is stored.
        """
        if self.person not in self.members:
            raise ReviewError(
                "Nobody in Label Studio has the number that was chosen. Load this page again, and choose."
            )
        tasks = {int(task["id"]): task for task in self.label_studio.tasks(self.project_id, list(predictions))}
        return list(
            until_unavailable(
                predictions, lambda task_id: self._approve(task_id, tasks.get(task_id), predictions[task_id])
            )
        )

    def _approve(self, task_id: int, task: dict[str, Any] | None, prediction_id: int) -> Outcome:
        if task is None:
            return Outcome(task_id, "left", "was deleted meanwhile.")
        earlier = self._earlier(task_id, task, prediction_id)
        if earlier is not None:
            return earlier
        if task.get("draft_exists"):
            return Outcome(task_id, "left", "is being annotated by somebody.")
        result = next((one["result"] for one in task["predictions"] if int(one["id"]) == prediction_id), None)
        if result is None:
            return Outcome(task_id, "left", "has another prediction by now.")
        stored = self.label_studio.accept(
            task_id,
            reviewed_regions([*result, *self.mark.regions()]),
            # One for each task: of two people with the same sheet, Label Studio refuses the later.
            unique_id=str(uuid.uuid5(NAMESPACE, f"{self.project_id}/{task_id}")),
            ground_truth=self.mark.starred,
            completed_by=self.person,
            parent_prediction=prediction_id,
            lead_time=self.seconds,
        )
        if stored is not None:
            return _done(task_id, stored)
        (again,) = self.label_studio.tasks(self.project_id, [task_id])
        return self._earlier(task_id, again, prediction_id) or Outcome(task_id, "left", "was annotated meanwhile.")

    def _earlier(self, task_id: int, task: dict[str, Any], prediction_id: int) -> Outcome | None:
        """What an annotation that is there already makes of the task; None if there is none."""
        annotations = task.get("annotations") or []
        for annotation in annotations:
            own = _user(annotation) == self.person and annotation.get("parent_prediction") == prediction_id
            if own and _may_be_ours(annotation):
                # Stored before: only the answer was lost.
                return _done(task_id, annotation)
        if not annotations:
            return None
        latest = annotations[-1]
        if accepted_by(latest):
            return Outcome(task_id, "left", "was accepted without a person meanwhile.")
        did = "skipped" if latest.get("was_cancelled") else "approved" if was_reviewed(latest) else "annotated"
        who = self.members.get(_user(latest) or 0, "somebody")
        return Outcome(task_id, "left", f"was {did} meanwhile by {who}.")


def undo(label_studio: LabelStudio, project_id: int, approved: Mapping[int, tuple[int, str]]) -> list[Outcome]:
    """Deletes annotations that were approved on a sheet, unless somebody has changed one or has a draft of its task.

    Args:
        approved: task id → annotation id and its `updated_at`, as in `Outcome`.

    Raises:
        LabelStudioError: Label Studio is unreachable, or refuses the request; nothing is deleted.
    """
    tasks = {int(task["id"]): task for task in label_studio.tasks(project_id, list(approved))}

    def delete(task_id: int) -> Outcome:
        annotation_id, updated_at = approved[task_id]
        task = tasks.get(task_id, {})
        annotation = next((one for one in task.get("annotations") or [] if int(one["id"]) == annotation_id), None)
        if annotation is None:
            return Outcome(task_id, "done")
        if not _may_be_ours(annotation) or _time(annotation) != updated_at:
            return Outcome(task_id, "left", "was changed meanwhile: its annotation stays.")
        if task.get("draft_exists"):
            return Outcome(task_id, "left", "is being changed by somebody: its annotation stays.")
        label_studio.delete_annotation(annotation_id)
        return Outcome(task_id, "done")

    return list(until_unavailable(approved, delete))


def reviewed_regions(result: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies a prediction's regions, without messages for annotators, and notes in each that it was reviewed."""
    return [{**region, "meta": {"text": [REVIEWED]}} for region in result if region.get("type") != "textarea"]


def was_reviewed(annotation: Mapping[str, Any]) -> bool:
    """Whether the annotation was approved on a sheet."""
    metas = [region.get("meta") for region in annotation.get("result") or []]
    return any(isinstance(meta, dict) and meta.get("text") == [REVIEWED] for meta in metas)


def _may_be_ours(annotation: Mapping[str, Any]) -> bool:
    """Whether a sheet may have stored it: where nothing was found, there is no region to mark."""
    return was_reviewed(annotation) or not annotation.get("result")


def until_unavailable(task_ids: Iterable[int], act: Callable[[int], Outcome]) -> Iterator[Outcome]:
    """Acts on each task; once Label Studio does not answer, the others fail without being tried."""
    away = ""
    for task_id in task_ids:
        if away:
            yield Outcome(task_id, "failed", away)
            continue
        try:
            yield act(task_id)
        except LabelStudioUnavailableError as e:
            away = str(e)
            yield Outcome(task_id, "failed", away)
        except LabelStudioError as e:
            yield Outcome(task_id, "failed", str(e))


def _done(task_id: int, annotation: Mapping[str, Any]) -> Outcome:
    return Outcome(task_id, "done", "", int(annotation["id"]), _time(annotation))


def _time(annotation: Mapping[str, Any]) -> str:
    """When it was last saved, in one notation: some answers hold text, which Python 3.10 does not read with a 'Z'."""
    at = annotation.get("updated_at")
    moment = at if isinstance(at, datetime) else datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    return moment.astimezone(timezone.utc).isoformat()


def _user(annotation: Mapping[str, Any]) -> int | None:
    """The id of the person whose annotation it is; some answers of Label Studio's API expand it."""
    person = annotation.get("completed_by")
    person = person.get("id") if isinstance(person, Mapping) else person
    return int(person) if isinstance(person, int) else None
