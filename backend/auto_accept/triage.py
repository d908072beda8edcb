"""Divides a job's predictions into those that are accepted and those that people get to see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backend.auto_accept.gate import Gate
from backend.domain import Prediction
from backend.label_studio.label_config import LabelConfig
from backend.regions.encode import message


@dataclass(frozen=True)
class Triage:
    """Predictions by task id.

    Attributes:
        accepted: those that become annotations without a person.
        shown: those left to people, for review or for audit, as people get them: with a note.
        review_scores: the scores of the images that are left for review.
    """

    accepted: dict[int, Prediction]
    shown: dict[int, Prediction]
    review_scores: list[float]


def triage(
    gate: Gate, predictions: Mapping[int, Prediction], config: LabelConfig, *, review_scores: Sequence[float] = ()
) -> Triage:
    """Lets the gate decide about each prediction.

    Args:
        predictions: task id → prediction of the gate's version.
        review_scores: the scores of earlier images that are left for review: audited images come among all of them.
    """
    decisions = {task_id: gate.decide(task_id, prediction.label_scores) for task_id, prediction in predictions.items()}
    reviewed = [predictions[task_id].score for task_id, decision in decisions.items() if decision == "review"]
    accepted, shown = {}, {}
    for task_id, decision in decisions.items():
        prediction = predictions[task_id]
        if decision == "accept":
            accepted[task_id] = prediction
            continue
        score = gate.audit_score(task_id, [*review_scores, *reviewed]) if decision == "audit" else prediction.score
        regions = [*prediction.regions, *message(gate.review_note(prediction.label_scores), config)]
        shown[task_id] = replace(prediction, regions=regions, score=score)
    return Triage(accepted, shown, reviewed)
