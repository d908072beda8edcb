"""Which annotations count as approved, and which of them the current model has not learnt from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.auto_accepted import accepted_by
from backend.regions import content_hash
from backend.settings import Settings

Rule = Callable[[Mapping[str, Any]], bool]
ACCEPTING = ("accepted", "fixed_and_accepted")


@dataclass(frozen=True)
class Approved:
    """One approved annotation.

    Attributes:
        result: Label Studio's regions, with whatever prompts and messages were left among them.
        content_hash: of what the regions show; unchanged by ids, scores and times.
        by_person: False where the service accepted it by itself: trained on where that is asked for, and never
            evidence of what is right, which it would be of itself.
    """

    annotation_id: int
    task_id: int
    data: dict[str, Any]
    result: list[dict[str, Any]]
    content_hash: str
    by_person: bool = True


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
        submitted = [one for one in task.get("annotations") or [] if not one.get("was_cancelled")]
        by_people = [one for one in submitted if accepted_by(one) is None and (rule or _is_submitted)(one)]
        by_service = [one for one in submitted if accepted_by(one) is not None]
        submitted = by_people or (by_service if with_auto_accepted else [])
        if not submitted:
            continue
        latest = max(submitted, key=_precedence)
        result = latest.get("result") or []
        found.append(
            Approved(
                annotation_id=int(latest["id"]),
                task_id=int(task["id"]),
                data=dict(task.get("data") or {}),
                result=result,
                content_hash=content_hash(result),
                by_person=bool(by_people),
            )
        )
    return sorted(found, key=lambda one: one.task_id)


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
