"""A project with figures in a running Label Studio, and the parts that work on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.domain import LabelledMask, Outlining
from backend.label_studio.client import LabelStudio
from backend.queues.queues import Queues
from backend.regions.encode import encode
from backend.registry.registry import Registry
from backend.telemetry.problems import Problems
from label_studio_config.demo.figures import draw_figure
from tests.conftest import Studio
from tests.projects import project_of_figures, promote_starter, settings_in_environment, write_broken_image
from tests.training.dataset.test_build import CONFIG

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

    def approve(self, seed: int, *, task: int | None = None) -> int:
        """Submits what is in the figure of `seed`, in its own task or another; the annotation's id."""
        made = self.label_studio.sdk.annotations.create(task or self.tasks[seed], result=regions_of(seed))
        return int(made.id or 0)


def regions_of(seed: int) -> list[dict[str, Any]]:
    """What is in the figure of `seed`, as Label Studio has it."""
    return [
        region
        for one in draw_figure(seed).instances
        for region in encode(LabelledMask(one.mask, one.label), CONFIG, outlining=Outlining(), model_version="person")
    ]


@pytest.fixture
def workplace(
    label_studio: Studio,
    redis_address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    starter: Path,
    prepared_starter: Path,
) -> Iterator[Workplace]:
    settings = settings_in_environment(
        monkeypatch,
        label_studio,
        redis_address,
        tmp_path / "data",
        RETRAIN_AFTER="2",
        RETRAIN_MIN_IMAGES="1",
        TRAIN_EPOCHS="1",
        TRAIN_BATCH="2",
        PROMOTE_MARGIN="-1",
        PROMOTE_CLASS_DROP="1",
    )
    studio, queues, registry = LabelStudio(settings), Queues(settings), Registry(settings.models_path)
    folder = label_studio.files / tmp_path.name
    write_broken_image(folder)
    project_id = project_of_figures(studio, folder, SEEDS, title=tmp_path.name)
    by_name = {
        task["data"]["image"].rsplit("/", 1)[-1]: int(task["id"])
        for task in studio.tasks(project_id, studio.task_ids(project_id))
    }
    tasks = {seed: by_name[f"figure_{seed:06d}.jpg"] for seed in SEEDS} | {-1: by_name["broken.jpg"]}
    promote_starter(registry, project_id, starter, prepared_starter)
    yield Workplace(project_id, studio, queues, registry, Problems(queues.redis), tasks)
    studio.sdk.projects.delete(project_id)
