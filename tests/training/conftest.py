"""A project with figures in a running Label Studio, and the parts that work on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.detector.preparation import preparation_folder
from backend.domain import LabelledMask, Outlining
from backend.label_studio.client import LabelStudio
from backend.queues.queues import Queues
from backend.regions.encode import encode
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.telemetry.problems import Problems
from label_studio_config.demo.figures import draw_figure
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import ensure_local_files, ensure_project
from tests.conftest import Studio
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
    settings = {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.api_key,
        "REDIS_URL": redis_address,
        "DATA_DIR": str(tmp_path / "data"),
        "DEVICE": "cpu",
        "RETRAIN_AFTER": "2",
        "RETRAIN_MIN_IMAGES": "1",
        "TRAIN_EPOCHS": "1",
        "TRAIN_BATCH": "2",
        "PROMOTE_MARGIN": "-1",
        "PROMOTE_CLASS_DROP": "1",
    }
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
        project_id,
        weights=starter,
        classes=GARMENTS,
        parent=None,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="starter",
    )
    shutil.copytree(prepared_starter, preparation_folder(version))
    registry.promote(project_id, version.name)
    yield Workplace(project_id, studio, queues, registry, Problems(queues.redis), tasks)
    studio.sdk.projects.delete(project_id)
