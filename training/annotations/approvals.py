"""Selects the annotations that count as approved, and those of them that the latest version has not learnt from."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.auto_accept.marks import accepted_by, was_auto_accepted
from backend.label_studio.config_xml import choice_names
from backend.regions.content_hash import content_hash
from backend.settings import Settings

Rule = Callable[[Mapping[str, Any]], bool]
ACCEPTING = ("accepted", "fixed_and_accepted")


@dataclass(frozen=True)
class Approved:
    """One approved annotation.

    Attributes:
        result: Label Studio's regions, including prompts and messages that were left among them.
        content_hash: a hash of shapes, labels, groups and relations, without ids, scores and times.
        shown: the regions of the prediction that was shown when the annotation was made; None if there was none, or
            Label Studio did not store it.
        by_person: False if the service accepted it without a person. Such an annotation is trained on if a setting
            asks for it, and never used in evaluation: the model would be evaluated on its own output.
        made_at: when it was made, ISO 8601; if the service accepted it and a person saved it later, the last save. ''
            if Label Studio reports no time.
        lead_time_s: seconds that the annotation was open, as Label Studio counts them: its page adds to them whenever
            somebody opens it again and saves. None if it has none, such as when a program stored the annotation.
        from_prediction: a person began with a prediction, or with what the service had accepted. Also False if that
            prediction has been deleted since: Label Studio then drops the reference to it.
        shown_hash: the content hash of `shown`.
    """

    annotation_id: int
    task_id: int
    data: dict[str, Any]
    result: Sequence[dict[str, Any]]
    content_hash: str
    by_person: bool = True
    shown: Sequence[dict[str, Any]] | None = None
    made_at: str = ""
    lead_time_s: float | None = None
    from_prediction: bool = False
    shown_hash: str | None = None

    @property
    def place(self) -> str:
        """Where the annotation is, for messages."""
        return f"annotation {self.annotation_id} of task {self.task_id}"


def accepting_choices(settings: Settings, label_config: Callable[[], str]) -> frozenset[str]:
    """Returns the names in annotations of the choice that approves: its value and its alias; empty for other rules.

    Args:
        label_config: returns the project's label config; called for `APPROVAL=choice` only.

    Raises:
        LabelConfigError: the label config is not XML.
    """
    if settings.approval != "choice":
        return frozenset()
    name, choice = _choice(settings)
    return choice_names(label_config(), name, choice)


def rule_of(settings: Settings, choices: Collection[str]) -> Rule:
    """Returns the setting `approval` as a test of whether a person's annotation, if not skipped, is approved.

    Args:
        choices: see `accepting_choices`.
    """
    if settings.approval == "ground_truth":
        return lambda annotation: bool(annotation.get("ground_truth"))
    if settings.approval == "reviewed":
        return _is_accepted
    if settings.approval == "choice":
        name, _ = _choice(settings)
        return lambda annotation: _chose(annotation, name, choices)
    return _is_submitted


def approved_annotations(
    tasks: Iterable[Mapping[str, Any]], *, rule: Rule | None = None, with_auto_accepted: bool = False
) -> list[Approved]:
    """Returns each task's latest approved annotation, the latest starred one if there is any; sorted by task id.

    Args:
        tasks: Label Studio's tasks with their `annotations`.
        rule: see `rule_of`; None counts every submitted annotation.
        with_auto_accepted: for tasks without a person's approved annotation, counts what the service accepted.
    """
    latest = []
    for task in tasks:
        by_people, by_service = _submitted(task)
        by_people = [annotation for annotation in by_people if (rule or _is_submitted)(annotation)]
        submitted = by_people or (by_service if with_auto_accepted else [])
        if submitted:
            latest.append(_approved(task, max(submitted, key=_precedence), by_person=bool(by_people)))
    return sorted(latest, key=lambda annotation: annotation.task_id)


def auto_accepted_times(tasks: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns when the service accepted each task that no person has annotated: task id → ISO 8601."""
    times = {}
    for task in tasks:
        by_people, by_service = _submitted(task)
        if by_service and not by_people:
            times[str(task["id"])] = str(max(by_service, key=_precedence).get("created_at") or "")
    return times


def _submitted(task: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Splits the task's annotations that were not skipped into people's and those that the service accepted."""
    submitted = [annotation for annotation in task.get("annotations") or [] if _is_submitted(annotation)]
    is_own = [accepted_by(annotation) is not None for annotation in submitted]
    by_people = [annotation for annotation, accepted in zip(submitted, is_own, strict=True) if not accepted]
    return by_people, [annotation for annotation, accepted in zip(submitted, is_own, strict=True) if accepted]


def _approved(task: Mapping[str, Any], annotation: Mapping[str, Any], *, by_person: bool) -> Approved:
    result = annotation.get("result") or []
    # Some answers of Label Studio's API have the number of the prediction in its place.
    prediction = annotation.get("prediction")
    shown = prediction.get("result") if isinstance(prediction, dict) else None
    accepted = was_auto_accepted(result)
    # The service created an accepted annotation; the time of a person who changed it is that of the last save.
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
    """Returns the lead time; None if it is no positive number: clocks that were set back made negative ones."""
    if not isinstance(lead_time, int | float) or not math.isfinite(lead_time) or lead_time <= 0:
        return None
    return float(lead_time)


def _precedence(annotation: Mapping[str, Any]) -> tuple[bool, str, int]:
    return bool(annotation.get("ground_truth")), str(annotation.get("updated_at") or ""), int(annotation["id"])


def _is_submitted(annotation: Mapping[str, Any]) -> bool:
    return not annotation.get("was_cancelled")


def _is_accepted(annotation: Mapping[str, Any]) -> bool:
    """Whether the annotation's last review accepted it, from the fields of Label Studio Enterprise."""
    reviews = annotation.get("reviews")
    if reviews:
        return bool(max(reviews, key=lambda review: str(review.get("created_at") or "")).get("accepted"))
    return annotation.get("last_action") in ACCEPTING


def _choice(settings: Settings) -> tuple[str, str]:
    """Returns the name of the tag, and the value of the choice in it, that approve."""
    name, _, choice = settings.approval_choice.partition("=")
    return name.strip(), choice.strip()


def _chose(annotation: Mapping[str, Any], name: str, choices: Collection[str]) -> bool:
    return any(
        chosen in choices
        for region in annotation.get("result") or []
        if region.get("from_name") == name
        for chosen in (region.get("value") or {}).get("choices") or []
    )


def new_annotations(approved: Iterable[Approved], trained: Mapping[str, str]) -> list[Approved]:
    """Returns the annotations that the latest version was not trained on in their present form.

    Args:
        trained: annotation id → content hash, of what the version was trained on.
    """
    return [
        annotation for annotation in approved if trained.get(str(annotation.annotation_id)) != annotation.content_hash
    ]
