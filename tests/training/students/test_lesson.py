"""What students learn from, of a project in a real Label Studio."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.connections import Connections
from backend.errors import DatasetError
from backend.settings import Settings
from tests.training.conftest import SEEDS, Workplace
from training.students.lesson import project_lesson

pytestmark = [pytest.mark.services, pytest.mark.slow]


def test_too_few_annotations_count_for_no_later_call_and_enough_count_for_all(
    workplace: Workplace, tmp_path: Path
) -> None:
    connections = Connections.of(Settings().for_project(workplace.project_id))

    def images() -> tuple[int, int]:
        lesson = project_lesson(connections, workplace.project_id, tmp_path, image_size_px=64)
        return len(lesson.train), len(lesson.judge)

    with pytest.raises(DatasetError):
        images()
    workplace.approve(SEEDS[0])
    with pytest.raises(DatasetError):
        images()
    for seed in SEEDS[1:-1]:
        workplace.approve(seed)
    begun = images()
    assert sum(begun) == len(SEEDS) - 1
    workplace.approve(SEEDS[-1])
    assert images() == begun
