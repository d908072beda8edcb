"""What another holds, or has answered, is left to it."""

from __future__ import annotations

from typing import Any

import pytest

from backend.label_studio.client import LabelStudio
from backend.prelabel.jobs import prelabel
from backend.prelabel.task_claims import Holder, TaskClaims
from backend.prelabel.task_marks import TaskMarks
from tests.backend.prelabel.conftest import Project

pytestmark = pytest.mark.services


def test_what_predict_has_answered_and_what_another_job_holds_is_left_alone(project: Project) -> None:
    version, marks = project.promote(), TaskMarks(project.queues.redis)
    claims = TaskClaims(project.queues.redis)
    answered, held, *_ = project.tasks
    marks.answered(project.number, version.name, [answered])
    assert claims.take(project.number, version.name, [held], holder=Holder.of("another job")).taken == {held}
    counts = prelabel(project.number, version.name, project.tasks)
    assert (counts["written"], counts["failed"]) == (2, 0)
    assert [len(ones) for ones in project.predictions(version.name).values()] == [0, 0, 1, 1]
    # Another's claim stays its own; ours are given back.
    third = Holder.of("third")
    assert claims.take(project.number, version.name, project.tasks, holder=third).taken == set(project.tasks) - {held}


def test_a_run_that_was_given_up_leaves_its_tasks_to_a_later_run(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a worker whose cable was out for minutes: its job went to another, and then it is there again."""
    version, claims = project.promote(), TaskClaims(project.queues.redis)
    unpredicted, later, taken = LabelStudio.unpredicted_tasks, Holder.of("by hand"), project.tasks[:3]

    def then_take_over(self: LabelStudio, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = unpredicted(self, *args, **kwargs)
        assert claims.take(project.number, version.name, taken, holder=later).inherited == set(taken)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(LabelStudio, "unpredicted_tasks", then_take_over)
        counts = prelabel(project.number, version.name, project.tasks)
    assert (counts["written"], counts["skipped"], counts["failed"]) == (1, 3, 0)
    # What the later run holds is not given free by the earlier one.
    assert claims.holders(project.number, version.name, taken) == dict.fromkeys(taken, str(later))
    assert claims.take(project.number, version.name, taken, holder=Holder.of("another job")).taken == set()
    assert prelabel(project.number, version.name, project.tasks)["written"] == 3
    assert [len(ones) for ones in project.predictions(version.name).values()] == [1, 1, 1, 1]
