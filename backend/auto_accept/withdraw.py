"""Deletes the annotations that a version had accepted without a person."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from backend.auto_accept.marks import accepted_by
from backend.label_studio.client import LabelStudio

logger = logging.getLogger(__name__)

Tracked = Callable[[list[tuple[int, int]]], Iterable[tuple[int, int]]]


def withdraw(label_studio: LabelStudio, *, project_id: int, version: str, tracked: Tracked) -> int:
    """Deletes the annotations that `version` had accepted, unless a person has changed one or has a draft of it.

    The predictions stay, for review. It is safe to run again.

    Args:
        tracked: yields the pairs (task id, annotation id) that it gets, and may show the progress.

    Returns:
        How many annotations were deleted.

    Raises:
        LabelStudioError: Label Studio does not answer, or refuses; annotations deleted before that stay deleted.
    """
    accepted = [
        (int(task["id"]), int(annotation["id"]))
        for task in label_studio.annotated_tasks(project_id)
        for annotation in task.get("annotations") or []
        if accepted_by(annotation) == version
    ]
    deleted = 0
    for task_id, annotation_id in tracked(accepted):
        # Read again: the last of thousands is reached minutes later, and people work meanwhile.
        annotation = label_studio.annotation(annotation_id)
        if annotation is None or accepted_by(annotation) != version or label_studio.has_draft(task_id, annotation_id):
            logger.info(
                "Annotation %s of task %s is not deleted: a person has changed it or is editing it",
                annotation_id,
                task_id,
            )
            continue
        label_studio.delete_annotation(annotation_id)
        deleted += 1
    return deleted
