"""A project of a real Label Studio, to import into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.domain import Mask
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.uploads import image_name
from backend.settings import Settings
from label_studio_config.provision import ensure_project
from tests.conftest import Studio
from tests.training.data_in.drawn import CONFIG
from training.annotations.approvals import approved_annotations
from training.annotations.truth import truth_of
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.import_data import ImportResult, import_data
from training.data_in.importer import ImportOptions


@dataclass(frozen=True)
class Place:
    """An empty project, and what an import needs."""

    settings: Settings
    label_studio: LabelStudio
    project_id: int
    config: LabelConfig

    def bring(self, path: Path | str, *, at: Settings | None = None, **wanted: Any) -> ImportResult:
        """Imports a path."""

        def track(images: Iterable[AnnotatedImage], count: int) -> Iterable[AnnotatedImage]:
            assert count >= 0
            return images

        return import_data(
            self.label_studio,
            at or self.settings,
            self.project_id,
            [str(path)],
            options=ImportOptions(**wanted),
            track=track,
        )

    def tasks(self) -> list[dict[str, Any]]:
        return self.label_studio.tasks(self.project_id, self.label_studio.task_ids(self.project_id))

    def contents(self) -> list[bytes]:
        """The image of each task, as Label Studio serves it."""
        addresses = [str(task["data"]["image"]) for task in self.tasks()]
        return [self.label_studio.send("GET", address).content for address in addresses]

    def approved(self) -> dict[str, list[tuple[str, Mask]]]:
        """By image, the label and the mask of each garment that is approved, as a training sees them."""
        found: dict[str, list[tuple[str, Mask]]] = {}
        for one in approved_annotations(self.label_studio.annotated_tasks(self.project_id)):
            truth = truth_of(one.result, self.config)
            assert not truth.problems
            found[image_name(one.data["image"])] = [(garment.label, garment.mask) for garment in truth.garments]
        return found


@pytest.fixture
def place(label_studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.api_key,
        "DATA_DIR": str(tmp_path / "data"),
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    client = LabelStudio(settings)
    project_id = ensure_project(client, title=tmp_path.name, label_config=CONFIG)
    yield Place(settings, client, project_id, parse_label_config(CONFIG))
    client.sdk.projects.delete(project_id)
