"""Which annotations count as approved, and which of them the current model has not learnt from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.auto_accept.marks import accepted_by, began_accepted
from backend.regions.content_hash import content_hash
from backend.settings import Settings

Rule = Callable[[Mapping[str, Any]], bool]
ACCEPTING = ("accepted", "fixed_and_accepted")


@dataclass(frozen=True)
class Approved:
    """One approved annotation.

    Attributes:
        result: Label Studio's regions, with whatever prompts and messages were left among them.
        content_hash: of what the regions show; unchanged by ids, scores and times.
        shown: the regions of the prediction that stood there when it was made; None where there was none, or Label
            Studio did not keep it.
        by_person: False where the service accepted it by itself: trained on where that is asked for, and never
            evidence of what is right, which it would be of itself.
        made_at: when, ISO 8601; of one that the service accepted and a person saved since, when it was saved last. ''
            where Label Studio does not say.
        lead_time_s: Label Studio's own seconds, of all times that the annotation was open: its page adds to them
            whenever somebody opens it again and saves. None where it has none, such as where a program stored it.
        from_prediction: a person began with a prediction, or with what the service had accepted. False, too, where
            that prediction was deleted since: Label Studio then forgets it.
        shown_hash: the content hash of `shown`.
    """

    annotation_id: int
    task_id: int
    data: dict[str, Any]
    result: list[dict[str, Any]]
    content_hash: str
    by_person: bool = True
    shown: list[dict[str, Any]] | None = None
    made_at: str = ""
    lead_time_s: float | None = None
    from_prediction: bool = False
    shown_hash: str | None = None


def rule_of(settings: Settings) -> Rule:
    """Whether an annotation of a person's that was not skipped counts, as the setting `approval` has it."""
    if settings.approval == "ground_truth":
        return lambda annotation: bool(annotation.get("ground_truth"))
    if settings.approval == "reviewed":
        return _is_accepted
    if settings.approval == "choice":
        name, _, wanted = settings.approval_choice.partition("=")
        return lambda annotation: _chose(annotation, name.strip(), wanted.strip())
    return _is_submitted


def approved_annotations(
    tasks: Iterable[Mapping[str, Any]], *, rule: Rule | None = None, with_auto_accepted: bool = False
) -> list[Approved]:
    """Of each task the latest annotation that is approved, or of those the one with ground truth; by task id.

    Args:
        tasks: Label Studio's tasks with their `annotations`.
        rule: see `rule_of`; None where whatever was submitted counts.
        with_auto_accepted: counts those that the service accepted by itself too, where a task has none of a person's.
    """
    found = []
    for task in tasks:
        by_people, by_service = _submitted(task)
        by_people = [one for one in by_people if (rule or _is_submitted)(one)]
        submitted = by_people or (by_service if with_auto_accepted else [])
        if submitted:
            found.append(_approved(task, max(submitted, key=_precedence), by_person=bool(by_people)))
    return sorted(found, key=lambda one: one.task_id)


def accepted_alone(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """When the service accepted each task that it alone has annotated: ISO 8601, by task id."""
    found = {}
    for task in tasks:
        by_people, by_service = _submitted(task)
        if by_service and not by_people:
            found[str(task["id"])] = str(max(by_service, key=_precedence).get("created_at") or "")
    return found


def _submitted(task: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """The task's annotations that were not skipped: people's, and the service's own."""
    submitted = [one for one in task.get("annotations") or [] if _is_submitted(one)]
    own = [accepted_by(one) is not None for one in submitted]
    by_people = [one for one, accepted in zip(submitted, own, strict=True) if not accepted]
    return by_people, [one for one, accepted in zip(submitted, own, strict=True) if accepted]


def _approved(task: Mapping[str, Any], annotation: Mapping[str, Any], *, by_person: bool) -> Approved:
    result = annotation.get("result") or []
    shown = (annotation.get("prediction") or {}).get("result")
    accepted = began_accepted(result)
    # What the service accepted was made before a person had a hand in it.
    at = annotation.get("updated_at" if accepted and by_person else "created_at")
    return Approved(
        annotation_id=int(annotation["id"]),
        task_id=int(task["id"]),
        data=dict(task.get("data") or {}),
        result=result,
        content_hash=content_hash(result),
        by_person=by_person,
        shown=shown,
        made_at=str(at or ""),
        lead_time_s=_seconds(annotation.get("lead_time")),
        from_prediction=by_person and (accepted or annotation.get("parent_prediction") is not None),
        shown_hash=None if shown is None else content_hash(shown),
    )


def _seconds(lead_time: object) -> float | None:
    """None of what is no time: some have stored negative ones, by clocks that were set back."""
    if not isinstance(lead_time, int | float) or not math.isfinite(lead_time) or lead_time <= 0:
        return None
    return float(lead_time)


def _precedence(annotation: Mapping[str, Any]) -> tuple[bool, str, int]:
    return bool(annotation.get("ground_truth")), str(annotation.get("updated_at") or ""), int(annotation["id"])


def _is_submitted(annotation: Mapping[str, Any]) -> bool:
    return not annotation.get("was_cancelled")


def _is_accepted(annotation: Mapping[str, Any]) -> bool:
    """Whether its last review accepted it, as Label Studio Enterprise tells of it."""
    reviews = annotation.get("reviews")
    if reviews:
        return bool(max(reviews, key=lambda review: str(review.get("created_at") or "")).get("accepted"))
    return annotation.get("last_action") in ACCEPTING


def _chose(annotation: Mapping[str, Any], name: str, wanted: str) -> bool:
    return any(
        region.get("from_name") == name and wanted in ((region.get("value") or {}).get("choices") or [])
        for region in annotation.get("result") or []
    )


def new_annotations(approved: Iterable[Approved], learnt: Mapping[str, str]) -> list[Approved]:
    """Those that the current model was not trained on, as they are now.

    Args:
        learnt: annotation id → content hash, from the champion's manifest.
    """
    return [one for one in approved if learnt.get(str(one.annotation_id)) != one.content_hash]
