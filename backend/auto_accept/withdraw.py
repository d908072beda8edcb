"""Taking back what a version had accepted without a person."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from backend.auto_accept.marks import accepted_by
from backend.label_studio.client import LabelStudio

logger = logging.getLogger(__name__)

Tracked = Callable[[list[tuple[int, int]]], Iterable[tuple[int, int]]]


def withdraw(label_studio: LabelStudio, *, project_id: int, version: str, tracked: Tracked) -> int:
    """Deletes the annotations that `version` had accepted and nobody has touched, nor has a draft of.

    Their predictions stay, for review. May be run again.

    Args:
        tracked: passes on what it is given, and may show how far that is.

    Returns:
        How many were deleted.

    Raises:
        LabelStudioError: Label Studio is away, or refuses; what was deleted before stays so.
    """
    accepted = [
        (int(task["id"]), int(annotation["id"]))
        for task in label_studio.annotated_tasks(project_id)
        for annotation in task.get("annotations") or []
        if accepted_by(annotation) == version
    ]
    deleted = 0
    for task_id, annotation_id in tracked(accepted):
        # Read again: of thousands the last comes minutes later, and people work meanwhile.
        found = label_studio.annotation(annotation_id)
        if found is None or accepted_by(found) != version or label_studio.has_draft(task_id, annotation_id):
            logger.info("Annotation %s of task %s stays: a person is at it", annotation_id, task_id)
            continue
        label_studio.delete_annotation(annotation_id)
        deleted += 1
    return deleted
