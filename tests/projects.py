"""What many tests set up: settings for a Label Studio, a project with drawn figures, the starter as its model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from backend.detector.preparation import PREPARED
from backend.label_studio.client import LabelStudio
from backend.registry.registry import Registry, Version
from backend.settings import Settings
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


def promote_starter(registry: Registry, project_id: int, starter: Path, prepared: Path) -> Version:
    """Makes the starter model, with its preparation, the project's current version."""
    version = add_starter(registry, project_id, starter)
    version.files.put_folder(PREPARED, prepared)
    registry.promote(project_id, version.name)
    return version
