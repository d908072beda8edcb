from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.errors import DatasetError
from benchmarks.flywheel.generation import Run, read_run, save_run
from tests.benchmarks.flywheel.generations import PLAN, generation


def test_a_run_is_found_as_it_was_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "flywheel.json"
    assert read_run(path, PLAN) == Run(PLAN)
    run = Run(PLAN, (generation(0), generation(1)), is_finished=True)
    save_run(run, path)
    assert read_run(path, PLAN) == run


def test_a_finished_run_goes_on_for_more_generations(tmp_path: Path) -> None:
    path, more = tmp_path / "flywheel.json", replace(PLAN, generations=2, images=6)
    run = Run(PLAN, (generation(0), generation(1)), is_finished=True)
    save_run(run, path)
    with pytest.raises(DatasetError, match="other options"):
        read_run(path, more)
    same_images = replace(PLAN, generations=2)
    assert read_run(path, same_images) == Run(same_images, run.generations)


def test_another_plan_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "flywheel.json"
    save_run(Run(PLAN, (generation(0),)), path)
    with pytest.raises(DatasetError, match="name another folder with --into"):
        read_run(path, replace(PLAN, labels=3))
    path.write_text('{"plan": ')
    with pytest.raises(DatasetError, match="cannot be read"):
        read_run(path, PLAN)
