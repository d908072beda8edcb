from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import ModelError
from backend.registry import Registry, Version, check_weights


def add(registry: Registry, weights: Path, *, parent: str | None = None) -> Version:
    return registry.add(
        7, weights=weights, classes=("saree", "blouse"), parent=parent, metrics={"mask_map50": 0.5},
        annotations={"3": "abc"}, image_size_px=256, origin="training",
    )  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "trained.pt"
    path.write_bytes(b"weights")
    return path


def test_versions_are_numbered_kept_and_read_again(tmp_path: Path, weights: Path) -> None:
    registry = Registry(tmp_path / "models")
    assert registry.champion(7) is None
    assert registry.versions(7) == []
    first = add(registry, weights)
    weights.write_bytes(b"other weights")
    second = add(registry, weights, parent=first.name)
    assert [version.name.rsplit("-", 1)[0] for version in (first, second)] == ["yolo11n-seg-v1", "yolo11n-seg-v2"]
    assert Registry(tmp_path / "models").versions(7) == [first, second]
    assert registry.project_ids() == [7]


def test_the_champion_moves_and_moves_back(tmp_path: Path, weights: Path) -> None:
    registry = Registry(tmp_path / "models")
    first, second = add(registry, weights), add(registry, weights)
    for version in (first, second, first):
        registry.promote(7, version.name)
        assert registry.champion(7) == version
    with pytest.raises(ModelError, match="no model version"):
        registry.promote(7, "yolo11n-seg-v9-abcdef")
    assert registry.champion(7) == first


def test_a_half_written_version_is_passed_over(tmp_path: Path, weights: Path) -> None:
    registry = Registry(tmp_path / "models")
    first = add(registry, weights)
    broken = first.weights.parent.parent / "yolo11n-seg-v2-abcdef"
    broken.mkdir()
    (broken / "manifest.json").write_text('{"name": ')
    assert registry.versions(7) == [first]
    # Nothing half-written is left where a crash would be in the middle of a copy.
    assert not list(first.weights.parent.parent.glob(".half-*"))


def test_weights_that_were_changed_are_not_loaded(tmp_path: Path, weights: Path) -> None:
    version = add(Registry(tmp_path / "models"), weights)
    check_weights(version)
    version.weights.write_bytes(b"something else")
    with pytest.raises(ModelError, match="were changed"):
        check_weights(version)
    version.weights.unlink()
    with pytest.raises(ModelError, match="are missing"):
        check_weights(version)


@pytest.mark.parametrize("name", ["../../etc", "", "yolo11n-seg-v1", "champion"])
def test_names_that_are_none_lead_nowhere(tmp_path: Path, weights: Path, name: str) -> None:
    registry = Registry(tmp_path / "models")
    first = add(registry, weights)
    (first.weights.parent.parent / "champion").write_text(name)
    assert registry.champion(7) is None
