"""Plans and shares: which version predicts which tasks, and in what order people are served."""

from __future__ import annotations

import httpx
import pytest
from rq import Queue
from rq.utils import now

from backend.errors import ModelError, QueueError
from backend.prelabel.jobs import plan, prelabel, share_out, write_clusters
from backend.prelabel.run import Prelabelling
from backend.prelabel.task_marks import TaskMarks
from backend.prelabel.worker_models import worker_models
from backend.queues.backlog import waiting_tasks
from backend.queues.job_progress import snapshot
from backend.queues.queues import CHECKS, PRELABEL
from backend.settings import Settings
from tests.backend.prelabel.conftest import Project
from tests.conftest import Studio

pytestmark = pytest.mark.services


def test_a_newer_version_supersedes_what_has_not_begun(project: Project) -> None:
    first = project.promote()
    assert plan(project.number) == {"tasks": 4}
    second = project.promote()
    assert plan(project.number) == {"tasks": 4}
    project.work(PRELABEL)
    assert all(not ones for ones in project.predictions(first.name).values())
    assert all(len(ones) == 1 for ones in project.predictions(second.name).values())
    assert project.studio.project(project.number).model_version == second.name
    # What the older version predicted does not hide that the newer has not.
    third = project.promote()
    assert project.studio.waiting_task_ids(project.number, version=second.name) == []
    assert project.studio.waiting_task_ids(project.number, version=third.name) == project.tasks
    some = project.tasks[1:3]
    assert [
        task["id"] for task in project.studio.unpredicted_tasks(project.number, [*some, 999_999], version=third.name)
    ] == some
    assert project.studio.unpredicted_tasks(project.number, some, version=second.name) == []


def test_an_older_version_predicts_where_it_is_asked_for(project: Project, settings: Settings) -> None:
    older, newer = project.promote(), project.promote()
    assert prelabel(project.number, newer.name, project.tasks)["written"] == 4
    first, second, *others = project.tasks
    # Left over from when the older one was the current one: it is dropped, and holds no task that is asked for.
    begun_at = now()
    left = project.queues.prelabelling(project.number, version=older.name)
    left.add([first, second, *others])
    asked = project.queues.prelabelling(project.number, version=older.name, asked=True)
    asked.add([first, second])
    asked.add([second])
    project.work(PRELABEL)
    progress = asked.progress(since=begun_at)
    assert (progress.left, progress.done) == (0, 2)
    progress = left.progress(since=begun_at)
    assert (progress.left, progress.done) == (0, 0)
    assert [len(ones) for ones in project.predictions(older.name).values()] == [1, 1, 0, 0]
    # What annotators see, and what `/predict` answers with, is the newer one's still.
    assert project.studio.project(project.number).model_version == newer.name
    current = worker_models(settings).batch.active_model(project.number)
    assert current is not None and current.version == newer.name
    assert project.studio.waiting_task_ids(project.number, version=older.name) == others
    # A task that failed is kept with the version that failed.
    assert prelabel(project.number, older.name, [*others, 999_999], asked=True)["failed"] == 1
    marks = TaskMarks(project.queues.redis)
    assert marks.without_failed(project.number, older.name, [999_999]) == []
    assert marks.without_failed(project.number, newer.name, [999_999]) == [999_999]
    with pytest.raises(ModelError, match="no model version"):
        prelabel(project.number, "yolo11n-seg-v9-abcdef", project.tasks, asked=True)


def test_the_current_version_asked_for_is_shown(project: Project) -> None:
    version = project.promote()
    assert prelabel(project.number, version.name, project.tasks, asked=True)["written"] == 4
    assert project.studio.project(project.number).model_version == version.name
    (job,) = Queue(CHECKS, connection=project.queues.redis).jobs
    assert set(job.args[2]) == set(project.tasks)


def test_the_same_event_twice_is_planned_once(project: Project) -> None:
    version = project.promote()
    for _ in range(2):
        project.queues.enqueue_imported(project.number, project.tasks)
    project.work(CHECKS)
    backlog = project.queues.prelabelling(project.number, version=version.name)
    begun_at = now()
    assert backlog.progress(since=begun_at).left == 4
    assert share_out(project.number, project.tasks)["tasks"] == plan(project.number)["tasks"] == 4
    assert snapshot(project.queues.redis)["tasks_to_prelabel"] == {str(project.number): 4}
    project.work(PRELABEL)
    progress = backlog.progress(since=begun_at)
    assert (progress.left, progress.done, progress.failed, progress.reasons) == (0, 4, 0, ())
    assert snapshot(project.queues.redis)["tasks_to_prelabel"] == {}
    assert [len(ones) for ones in project.predictions(version.name).values()] == [1, 1, 1, 1]


def test_a_project_without_a_model_waits_for_its_first(project: Project) -> None:
    assert plan(project.number) == share_out(project.number, project.tasks) == {"tasks": 0}
    assert prelabel(project.number, "", project.tasks)["skipped"] == 4


def test_the_least_sure_of_the_cluster_annotated_least_is_served_first(project: Project, label_studio: Studio) -> None:
    version = project.promote()
    prelabel(project.number, version.name, project.tasks)
    (job,) = Queue(CHECKS, connection=project.queues.redis).jobs
    assert set(job.args[2]) == set(project.tasks) and all(100 <= number < 200 for number in job.args[2].values())
    # Groups of our own choice, so that the right order is known: two figures each.
    clusters = dict(zip(project.tasks, (100, 100, 101, 101), strict=True))
    assert write_clusters(project.number, version.name, clusters) == {"written": 4}
    assert write_clusters(project.number, version.name, clusters) == {"written": 0}
    stored = {task: ones[0] for task, ones in project.predictions(version.name).items()}
    assert {task: one["cluster"] for task, one in stored.items()} == clusters
    left = set(project.tasks)
    served = []
    for _ in range(4):
        served.append(next_task(label_studio, project))
        left.discard(served[-1])
        regions = stored[served[-1]]["result"]
        project.studio.sdk.annotations.create(served[-1], result=regions)
    annotated: list[int] = []
    for task in served:
        of_group = {number: sum(clusters[one] == number for one in annotated) for number in (100, 101)}
        waiting = [one for one in project.tasks if one not in annotated]
        assert task == min(waiting, key=lambda one: (of_group[clusters[one]], stored[one]["score"]))
        annotated.append(task)


def next_task(studio: Studio, project: Project) -> int:
    """What Label Studio's *Label all tasks* gives next."""
    answer = httpx.post(
        f"{studio.url}/api/dm/actions",
        params={"id": "next_task", "project": project.number},
        headers={"Authorization": project.studio.bearer()},
        timeout=30,
    )
    return int(answer.raise_for_status().json()["id"])


def test_samples_are_from_all_over_the_project(project: Project) -> None:
    assert len(project.studio.sample_tasks(project.number, count=128, runs=16)) == 4
    one_each = project.studio.sample_tasks(project.number, count=2, runs=2)
    assert [task["id"] for task in one_each] == [project.tasks[0], project.tasks[-1]]


def test_a_redis_that_is_away_for_a_moment_drops_no_backlog(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the tasks that a person asked for no plan knows: nobody would add them again."""
    version, tasks = project.promote(), project.tasks
    project.queues.prelabelling(project.number, version=version.name, asked=True).add(tasks)

    def fail(work: Prelabelling) -> None:
        raise QueueError("Redis does not answer.")

    monkeypatch.setattr(Prelabelling, "run", fail)
    with pytest.raises(QueueError):
        prelabel(project.number, version.name, tasks[:2], asked=True)
    assert waiting_tasks(project.queues.redis, "prelabel") == {str(project.number): 2}
