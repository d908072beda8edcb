"""Machines that share the versions of one project."""

from __future__ import annotations

from pathlib import Path

from backend.registry.registry import Registry, Version
from backend.storage.store import Storage

PROJECT = 7


def add(registry: Registry, content: bytes, tmp_path: Path) -> Version:
    weights = tmp_path / "trained.pt"
    weights.write_bytes(content)
    return registry.add(
        PROJECT,
        weights=weights,
        classes=("saree",),
        parent=None,
        metrics={"mask_map50": 0.5},
        annotations={"3": "a"},
        image_size_px=256,
        origin="training",
        beside={"dataset.json": "{}"},
    )


def machine(shared: Storage, tmp_path: Path, name: str, said: list[str] | None = None) -> Registry:
    return Registry.shared(shared, tmp_path / name, report=(said if said is not None else []).append)
