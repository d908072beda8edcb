"""Weights that settings name, and weights of current models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.registry.registry import Registry
from backend.settings import Settings
from launcher.doctor.findings import State
from launcher.doctor.weights import check_weight_files
from tests.launcher.doctor.conftest import Flywheel, assert_each_fault_is_found


def weights_changed(flywheel: Flywheel) -> None:
    champion = Registry(flywheel.settings.models_path).champion(flywheel.project_id)
    assert champion is not None
    with champion.weights.open("ab") as file:
        file.write(b"\0")


def weights_deleted(flywheel: Flywheel) -> None:
    champion = Registry(flywheel.settings.models_path).champion(flywheel.project_id)
    assert champion is not None
    champion.weights.unlink()


def manifest_damaged(flywheel: Flywheel) -> None:
    registry = Registry(flywheel.settings.models_path)
    champion = registry.champion(flywheel.project_id)
    assert champion is not None
    second = registry.add(
        flywheel.project_id,
        weights=Path(flywheel.settings.yolo11_base),
        classes=("saree",),
        parent=champion.name,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="training",
    )
    registry.promote(flywheel.project_id, second.name)
    second.files.fetch("manifest.json").write_text("{")


@pytest.mark.services
def test_what_is_wrong_with_a_model_is_named_with_its_remedy(flywheel: Flywheel) -> None:
    assert_each_fault_is_found(
        [
            (weights_changed, "model of project N", "failed", "was changed", "rollback"),
            (weights_deleted, "model of project N", "failed", "are missing", "rollback"),
            (manifest_damaged, "model of project N", "warning", "cannot be read", "promote"),
        ],
        flywheel,
        lambda: check_weight_files(flywheel.settings),
    )


@pytest.mark.parametrize(
    ("settings", "name", "state"),
    [
        ({"yolo11_base": "n"}, "YOLO11_BASE", "warning"),
        ({"yolo11_base": "/nowhere/base.pt"}, "YOLO11_BASE", "failed"),
        # A name may be downloaded, a path may not.
        ({"sam_weights": "sam2.1_b.pt"}, "SAM_WEIGHTS", "warning"),
        ({"sam_weights": "/nowhere/sam2.1_b.pt"}, "SAM_WEIGHTS", "failed"),
        ({"segmenter": "sam3"}, "SAM3_WEIGHTS", "failed"),
        ({"sam_weights": "auto"}, "SAM_WEIGHTS", "ok"),
        ({"segmenter": "sam"}, "SAM_WEIGHTS", "failed"),
        ({"sam_weights": "auto", "segmenter": "builtin"}, "weights", "ok"),
        ({}, "weights", "ok"),
    ],
)
def test_weights_that_settings_name(
    settings: dict[str, Any], name: str, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = {one.name: one for one in check_weight_files(Settings(data_dir=tmp_path, **settings))}
    assert found[name].state == state
