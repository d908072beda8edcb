"""What many tests set up: settings for a Label Studio, a project with drawn figures, the starter as its model."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.detector.preparation import PREPARED
from backend.domain import LabelledMask, Outlining, Prediction
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.regions.encode import encode
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import ensure_local_files, ensure_project
from tests.conftest import Studio
from tests.support import add_starter


def settings_in_environment(
    monkeypatch: pytest.MonkeyPatch, label_studio: Studio, redis_address: str, data_dir: Path, **others: str
) -> Settings:
    """Settings for these services on the CPU, which jobs read from the environment too."""
    named = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.api_key,
        "REDIS_URL": redis_address,
        "DATA_DIR": str(data_dir),
        "DEVICE": "cpu",
    }
    for name, value in {**named, **others}.items():
        monkeypatch.setenv(name, value)
    return Settings()


def write_broken_image(folder: Path) -> None:
    """A file that begins as a JPEG does, and then breaks off."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")


def project_of_folder(client: LabelStudio, folder: Path, *, title: str, label_config: str = palette(GARMENTS)) -> int:
    """The id of a new project of all images in the folder."""
    project_id = ensure_project(client, title=title, label_config=label_config)
    ensure_local_files(client, project_id=project_id, folder=folder)
    return project_id


def project_of_figures(
    client: LabelStudio, folder: Path, seeds: Iterable[int], *, title: str, label_config: str = palette(GARMENTS)
) -> int:
    """The id of a new project of drawn figures, which are written into the folder beside what is there."""
    write_images(folder, seeds)
    return project_of_folder(client, folder, title=title, label_config=label_config)


@dataclass(frozen=True)
class Predicted:
    """A project of drawn figures with predictions of its current model, which are what is in the figures.

    Attributes:
        tasks: the surest first.
        predictions: task id → prediction id.
    """

    number: int
    studio: LabelStudio
    version: str
    tasks: list[int]
    predictions: dict[int, int]

    def annotations(self, task_id: int) -> list[dict[str, Any]]:
        """The task's annotations, as they are now."""
        (task,) = self.studio.tasks(self.number, [task_id])
        found: list[dict[str, Any]] = task["annotations"]
        return found

    def add_member(self, name: str) -> int:
        """The id of another person in Label Studio."""
        address = f"{name.lower()}-{uuid.uuid4().hex[:8]}@example.com"
        return int(self.studio.sdk.users.create(username=address, email=address, first_name=name).id or 0)


def predicted_project(
    settings: Settings, folder: Path, starter: Path, *, count: int, label_config: str = palette(GARMENTS)
) -> Predicted:
    """A new project of so many figures, of which no prediction is as sure as another."""
    studio, registry, config = LabelStudio(settings), Registry(settings.models_path), parse_label_config(label_config)
    seeds = range(700, 700 + count)
    number = project_of_figures(studio, folder, seeds, title=folder.name, label_config=label_config)
    version = add_starter(registry, number, starter)
    registry.promote(number, version.name)
    by_name = {
        task["data"]["image"].rsplit("/", 1)[-1]: int(task["id"])
        for task in studio.tasks(number, studio.task_ids(number))
    }
    tasks = [by_name[f"figure_{seed:06d}.jpg"] for seed in seeds]
    predictions = [
        Prediction(
            [
                region
                for one in draw_figure(seed).instances
                for region in encode(
                    LabelledMask(one.mask, one.label, 0.9), config, outlining=Outlining(), model_version=version.name
                )
            ],
            0.99 - position / 100,
            version.name,
        )
        for position, seed in enumerate(seeds)
    ]
    studio.write_predictions(number, list(zip(tasks, predictions, strict=True)))
    studio.show_model_version(number, version.name)
    stored = {int(task["id"]): int(task["predictions"][0]["id"]) for task in studio.tasks(number, tasks)}
    return Predicted(number, studio, version.name, tasks, stored)


def promote_starter(registry: Registry, project_id: int, starter: Path, prepared: Path) -> Version:
    """Makes the starter model, with its preparation, the project's current version."""
    version = add_starter(registry, project_id, starter)
    version.files.put_folder(PREPARED, prepared)
    registry.promote(project_id, version.name)
    return version
