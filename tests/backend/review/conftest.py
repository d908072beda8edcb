"""A project of a few figures whose predictions wait for review, in a real Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.settings import Settings
from tests.backend.conftest import settings_with_label_studio
from tests.conftest import Studio
from tests.projects import Predicted, predicted_project


@pytest.fixture
def reviewed_settings(label_studio: Studio, redis_address: str, tmp_path: Path) -> Settings:
    return settings_with_label_studio(
        label_studio, redis_address, tmp_path / "data", device="cpu", segmenter="builtin", sam_weights=""
    )


@pytest.fixture
def predicted(reviewed_settings: Settings, label_studio: Studio, tmp_path: Path, starter: Path) -> Iterator[Predicted]:
    folder = label_studio.files / tmp_path.name
    folder.mkdir()
    made = predicted_project(reviewed_settings, folder, starter, count=4)
    yield made
    made.studio.sdk.projects.delete(made.number)
