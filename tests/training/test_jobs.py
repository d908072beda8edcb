"""The jobs on a real Label Studio and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rq import Queue

from backend.domain import LabelledMask, Outlining
from backend.labelstudio import LabelStudio
from backend.prelabel import plan, prelabel
from backend.problems import Problems
from backend.queues import PRELABEL, TRAIN, Queues
from backend.regions import encode
from backend.registry import Registry
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.demo.write import write_images
from label_studio_config.palette import GARMENTS, palette
from label_studio_config.provision import ensure_local_files, ensure_project
from tests.conftest import Studio
from tests.training.test_dataset import CONFIG
from training.jobs import check_approvals, train

pytestmark = pytest.mark.services
SEEDS = (1, 3, 7)


@dataclass(frozen=True)
class Workplace:
    """A project with figures in a running Label Studio, and the parts that work on it."""

    project_id: int
    label_studio: LabelStudio
    queues: Queues
    registry: Registry
    problems: Problems
    tasks: dict[int, int]

    def approve(self, seed: int) -> int:
        """Submits what is in the figure of `seed`; the annotation's id."""
        result: list[dict[str, Any]] = []
        for instance in draw_figure(seed).instances:
            labelled = LabelledMask(instance.mask, instance.label)
            result += encode(labelled, CONFIG, outlining=Outlining(), model_version="person")
        made = self.label_studio.sdk.annotations.create(self.tasks[seed], result=result)
        return int(made.id or 0)


@pytest.fixture
def workplace(
    label_studio: Studio, redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starter: Path
) -> Iterator[Workplace]:
    settings = {
        "LABEL_STUDIO_URL": label_studio.url, "LABEL_STUDIO_API_KEY": label_studio.api_key, "REDIS_URL": redis_address,
        "DATA_DIR": str(tmp_path / "data"), "DEVICE": "cpu", "RETRAIN_AFTER": "2", "TRAIN_EPOCHS": "1",
        "TRAIN_BATCH": "2",
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    read = Settings()
    studio, queues, registry = LabelStudio(read), Queues(read), Registry(read.models_path)
    folder = label_studio.files / tmp_path.name
    write_images(folder, SEEDS)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    project_id = ensure_project(studio, title=tmp_path.name, label_config=palette(GARMENTS))
    ensure_local_files(studio, project_id=project_id, folder=folder)
    by_name = {
        task["data"]["image"].rsplit("/", 1)[-1]: int(task["id"])
        for task in studio.tasks(project_id, studio.task_ids(project_id))
    }
    tasks = {seed: by_name[f"figure_{seed:06d}.jpg"] for seed in SEEDS} | {-1: by_name["broken.jpg"]}
    version = registry.add(
        project_id, weights=starter, classes=GARMENTS, parent=None, metrics={}, annotations={}, image_size_px=256,
        origin="starter",
    )  # fmt: skip
    registry.promote(project_id, version.name)
    yield Workplace(project_id, studio, queues, registry, Problems(queues.redis), tasks)
    studio.sdk.projects.delete(project_id)


def test_prelabel_writes_once_and_goes_on_past_what_fails(workplace: Workplace) -> None:
    project_id, everything = workplace.project_id, [*workplace.tasks.values(), 999_999]
    champion = workplace.registry.champion(project_id)
    assert champion is not None
    assert prelabel(project_id, champion.name, everything) == {"written": 3, "accepted": 0, "skipped": 0, "failed": 2}
    said = {problem.task_id: problem.text for problem in workplace.problems.recent(10)}
    assert "gone" in said[999_999]
    assert "broken.jpg" in said[workplace.tasks[-1]]
    assert workplace.label_studio.project(project_id).model_version == champion.name
    assert prelabel(project_id, champion.name, everything)["written"] == 0
    for task in workplace.label_studio.tasks(project_id, list(workplace.tasks.values())):
        assert len(task["predictions"]) == (0 if task["id"] == workplace.tasks[-1] else 1)


def test_counts_follow_label_studio_whatever_the_events_were(workplace: Workplace) -> None:
    project_id = workplace.project_id
    assert check_approvals(project_id) == {"new": 0, "needed": 2}
    first = workplace.approve(1)
    assert check_approvals(project_id)["new"] == 1
    workplace.label_studio.sdk.annotations.delete(first)
    assert check_approvals(project_id)["new"] == 0
    workplace.approve(1)
    workplace.approve(3)
    training = Queue(TRAIN, connection=workplace.queues.redis)
    assert len(training) == 0
    for _ in range(3):
        assert check_approvals(project_id)["new"] == 2
    # However often it is counted, one training waits.
    assert [job.args[0] for job in training.jobs] == [project_id]
    assert workplace.queues.counts()[str(project_id)] == {"new": 2, "needed": 2}


def test_an_event_during_a_count_brings_another(workplace: Workplace) -> None:
    queues, project_id = workplace.queues, workplace.project_id
    assert queues.enqueue_check(project_id)
    assert not queues.enqueue_check(project_id)
    queues.begin_check(project_id)
    assert queues.enqueue_check(project_id)


def test_a_training_promotes_and_has_the_rest_predicted_again(workplace: Workplace) -> None:
    project_id = workplace.project_id
    before = workplace.registry.champion(project_id)
    assert before is not None
    workplace.approve(1)
    workplace.approve(3)
    made = train(project_id, "test")
    after = workplace.registry.champion(project_id)
    assert after is not None
    assert (after.name, after.parent, after.origin) == (made["version"], before.name, "training")
    assert len(after.annotations) == 2
    # What nobody has annotated waits for the new model.
    assert plan(project_id) == {"tasks": 2, "jobs": 1}
    (job,) = Queue(PRELABEL, connection=workplace.queues.redis).jobs
    assert job.args == (project_id, after.name, sorted([workplace.tasks[7], workplace.tasks[-1]]))
    # What it was trained on is not new any more.
    assert check_approvals(project_id)["new"] == 0
