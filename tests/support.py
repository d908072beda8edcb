"""What several tests share: the recorded requests, shapes to draw, and a model version."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.detector.starter import starter_facts
from backend.registry.registry import Registry, Version

FIXTURES = Path(__file__).parent / "fixtures"
CONFIGS = Path(__file__).parent / "configs"


def recorded(name: str) -> dict[str, Any]:
    """Body of a request that Label Studio really sent."""
    body: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())["body"]
    return body


def config_xml(name: str) -> str:
    """One of the label configs that the requests were recorded under."""
    return (CONFIGS / f"{name}.xml").read_text()


def shapes() -> dict[str, npt.NDArray[np.bool_]]:
    """Masks that have caught mistakes: none is square, so that swapped axes show."""
    height, width = 60, 97
    rows, columns = np.indices((height, width))
    blank = np.zeros((height, width), bool)
    disk = (columns - 40) ** 2 + (rows - 30) ** 2 < 20**2
    corner = blank.copy()
    corner[:20, :30] = True  # touches two borders
    whole = ~blank  # touches all
    two = blank.copy()
    two[5:25, 5:30], two[30:55, 50:90] = True, True
    thin = np.abs(rows - columns * 0.5) < 1.5
    pixel = blank.copy()
    pixel[59, 96] = True  # the last
    return {"disk": disk, "corner": corner, "whole": whole, "two": two, "thin": thin, "pixel": pixel}


def iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float(np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1))


def add_starter(
    registry: Registry,
    project_id: int,
    weights: Path,
    *,
    parent: str | None = None,
    beside: Mapping[str, str] | None = None,
) -> Version:
    """Adds a version with the starter's classes to the project; it is not promoted."""
    return registry.add(
        project_id,
        weights=weights,
        classes=starter_facts().classes,
        parent=parent,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="starter",
        beside=beside,
    )


def wait_for(ready: Callable[[], bool], *, timeout_s: float = 120, what: str = "") -> None:
    """Waits until something has come about; `what` says what, if it does not."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
