"""Loading weights with Ultralytics: what is no segmentation model is refused by name, and nobody outside is asked."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from backend.compute.quiet_ultralytics import load_yolo, quiet_ultralytics
from backend.detector.runtimes.network import load_network
from backend.errors import ModelError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("network", "task"), [("yolo11n.yaml", "detect"), ("yolo11n-cls.yaml", "classify")])
def test_a_model_of_another_task_is_refused_by_its_task(tmp_path: Path, network: str, task: str) -> None:
    weights = tmp_path / "others.pt"
    quiet_ultralytics().YOLO(network).save(weights)
    with pytest.raises(ModelError, match=f"others.pt are of a model for '{task}'"):
        load_network(weights)


def test_a_segmentation_model_loads(starter: Path) -> None:
    assert load_yolo(str(starter)).task == "segment"


def test_for_a_path_without_a_file_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **_: asked.append(given))
    monkeypatch.chdir(tmp_path)
    # One of these names is that of a file on Ultralytics' servers.
    for path in (Path("yolo11n-seg.pt"), tmp_path / "yolo11n-seg.pt", Path("runs/bset.pt")):
        with pytest.raises(ModelError, match="there is no such file"):
            load_network(path)
    assert not asked and not list(tmp_path.iterdir())
