"""SAM 3 in jobs: pre-annotation before a project has a model, and encoding ahead; real Label Studio, Redis and RQ."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console
from rq import SimpleWorker
from rq.utils import now

from backend.label_studio.client import LabelStudio
from backend.prelabel.jobs import prelabel
from backend.queues.queues import PRELABEL, Queues
from backend.telemetry.problems import Problems
from benchmarks.random_weights import random_sam3, small_sam3
from label_studio_config.palette_xml import palette
from launcher.commands.progress_bar import show_progress
from tests.conftest import Studio
from tests.projects import project_of_figures, settings_in_environment, write_broken_image

pytestmark = pytest.mark.services


@dataclass(frozen=True)
class Project:
    """Two figures and a broken file in a running Label Studio, under settings in the environment."""

    number: int
    label_studio: LabelStudio
    queues: Queues
    embeddings: Path

    @property
    def task_ids(self) -> list[int]:
        return self.label_studio.task_ids(self.number)


@pytest.fixture
def project(
    label_studio: Studio, redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    with small_sam3():
        weights = random_sam3(tmp_path, seed=1)
        settings = settings_in_environment(
            monkeypatch,
            label_studio,
            redis_address,
            tmp_path / "data",
            SAM3_WEIGHTS=str(weights),
            MODEL_SCORE_THRESHOLD="0.2",
            PRELABEL_CHUNK="2",
        )
        studio = LabelStudio(settings)
        folder = label_studio.files / tmp_path.name
        write_broken_image(folder)
        labels = palette(("saree", "blouse"))
        number = project_of_figures(studio, folder, (2, 4), title=tmp_path.name, label_config=labels)
        yield Project(number, studio, Queues(settings), tmp_path / "data" / "embeddings")
        studio.sdk.projects.delete(number)


def test_words_pre_annotate_what_has_no_prediction(project: Project) -> None:
    counts = prelabel(project.number, "", project.task_ids)
    assert counts == {"written": 2, "accepted": 0, "skipped": 0, "failed": 1}
    tasks = project.label_studio.tasks(project.number, project.task_ids)
    written = [prediction for task in tasks for prediction in task["predictions"]]
    assert [prediction["model_version"] for prediction in written] == ["sam3", "sam3"]
    regions = [region for prediction in written for region in prediction["result"]]
    assert {region["value"]["labels"][0] for region in regions if region["type"] == "labels"} <= {"saree", "blouse"}
    assert regions
    assert any("damaged" in problem.text for problem in Problems(project.queues.redis).recent(5))
    assert prelabel(project.number, "", project.task_ids)["skipped"] == 2


def test_a_whole_project_is_encoded_ahead_and_once(project: Project) -> None:
    worker = SimpleWorker([PRELABEL], connection=project.queues.redis)
    backlog, begun_at = project.queues.encoding(project.number), now()
    for _ in range(2):
        backlog.add(project.task_ids)
        assert backlog.progress(since=begun_at).left == 3
    worker.work(burst=True)
    told = show_progress(
        lambda: backlog.progress(since=begun_at), total=3, title="Encoding", console=Console(file=io.StringIO())
    )
    assert (told.done, told.failed, told.reasons) == (2, 1, ())
    kept = {path.name: path.stat().st_mtime_ns for path in project.embeddings.iterdir()}
    # Two images, and what each of two heads reads of them.
    assert len(kept) == 4
    backlog.add(project.task_ids)
    worker.work(burst=True)
    assert {path.name: path.stat().st_mtime_ns for path in project.embeddings.iterdir()} == kept


def test_a_segmenter_that_encodes_nothing_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGMENTER", "builtin")
    backlog, begun_at = project.queues.encoding(project.number), now()
    backlog.add(project.task_ids)
    SimpleWorker([PRELABEL], connection=project.queues.redis).work(burst=True)
    progress = backlog.progress(since=begun_at)
    assert "encodes no images" in progress.reasons[0]
    # The others would fail likewise, but for the one that was queued already: who waits does not wait for ever.
    assert progress.ended and len(set(progress.reasons)) == 1


def test_the_tasks_that_follow_an_opened_one(project: Project) -> None:
    first, second, third = sorted(project.task_ids)
    following = project.label_studio.tasks_after(project.number, first, count=1)
    assert [task["id"] for task in following] == [second]
    assert following[0]["data"]["image"]
    assert [task["id"] for task in project.label_studio.tasks_after(project.number, first, count=5)] == [second, third]
    assert project.label_studio.tasks_after(project.number, third, count=2) == []
