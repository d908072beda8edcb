"""What another holds, or has answered, is left to it."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.job import JobStatus

from backend.label_studio.client import LabelStudio
from backend.prelabel.jobs import prelabel
from backend.prelabel.task_claims import Claimed, Holder, TaskClaims
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


def test_claims_of_a_job_that_was_given_up_are_taken_over(redis_address: str) -> None:
    """Its tasks would count as done, without a prediction, until its claims expire."""
    with Redis.from_url(redis_address) as redis:
        claims, job = TaskClaims(redis), Queue("jobs", connection=redis).enqueue(print)
        assert claims.take(7, "v1", [1, 2], holder=Holder.of(job.id)).taken == {1, 2}
        later = Holder.of("later")
        for status in (JobStatus.QUEUED, JobStatus.STARTED):
            job.set_status(status)
            assert claims.take(7, "v1", [1, 2, 3], holder=later).taken == {3}
        job.set_status(JobStatus.FAILED)
        # Its worker may have been cut off, and still write.
        assert claims.take(7, "v1", [1, 2, 4], holder=later) == Claimed(frozenset({1, 2, 4}), frozenset({1, 2}))
