"""A project of four drawn figures in a real Label Studio, and the parts that work on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rq import SimpleWorker

from backend.label_studio.client import LabelStudio
from backend.queues.queues import Queues
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from backend.telemetry.problems import Problems
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from tests.conftest import Studio
from tests.projects import project_of_folder, promote_starter, settings_in_environment

SEEDS = (1, 3, 7, 9)


@dataclass(frozen=True)
class Project:
    """A project of four figures, and the parts that work on it."""

    number: int
    studio: LabelStudio
    queues: Queues
    promote: Callable[[], Version]

    @property
    def tasks(self) -> list[int]:
        return self.studio.task_ids(self.number)

    @property
    def problems(self) -> str:
        return " ".join(problem.text for problem in Problems(self.queues.redis).recent(20))

    def predictions(self, version: str) -> dict[int, list[dict[str, Any]]]:
        return {
            int(task["id"]): [one for one in task["predictions"] if one["model_version"] == version]
            for task in self.studio.tasks(self.number, self.tasks)
        }

    def work(self, *queues: str) -> None:
        SimpleWorker(list(queues), connection=self.queues.redis).work(burst=True)


@pytest.fixture
def settings(label_studio: Studio, redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    return settings_in_environment(monkeypatch, label_studio, redis_address, tmp_path / "data", PRELABEL_CHUNK="2")


def make_project(
    settings: Settings, folder: Path, starter: Path, prepared: Path, *, label_config: str = palette(GARMENTS)
) -> Project:
    """A project of the images that are in the folder."""
    client, registry = LabelStudio(settings), Registry(settings.models_path)
    number = project_of_folder(client, folder, title=folder.name, label_config=label_config)
    return Project(number, client, Queues(settings), lambda: promote_starter(registry, number, starter, prepared))


@pytest.fixture
def project(
    settings: Settings, label_studio: Studio, starter: Path, prepared_starter: Path, tmp_path: Path
) -> Iterator[Project]:
    folder = label_studio.files / tmp_path.name
    write_images(folder, SEEDS)
    made = make_project(settings, folder, starter, prepared_starter)
    yield made
    made.studio.sdk.projects.delete(made.number)
