"""A project with two versions of the starter, in a real Label Studio, and the backend that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.registry.registry import Registry
from backend.settings import Settings
from tests.backend.conftest import Served, served, settings_with_label_studio
from tests.conftest import Studio
from tests.projects import Predicted, predicted_project
from tests.support import add_starter


@pytest.fixture
def live_settings(label_studio: Studio, redis_address: str, tmp_path: Path) -> Settings:
    return settings_with_label_studio(
        label_studio, redis_address, tmp_path / "data", device="cpu", segmenter="builtin", sam_weights=""
    )


@pytest.fixture
def tried(live_settings: Settings, label_studio: Studio, tmp_path: Path, starter: Path) -> Iterator[Predicted]:
    folder = label_studio.files / tmp_path.name
    folder.mkdir()
    made = predicted_project(live_settings, folder, starter, count=1)
    add_starter(Registry(live_settings.models_path), made.number, starter, parent=made.version)
    yield made
    made.studio.sdk.projects.delete(made.number)


@pytest.fixture
def running(tried: Predicted, live_settings: Settings) -> Iterator[Served]:
    with served(live_settings) as service:
        yield service
