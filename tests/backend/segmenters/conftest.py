"""A small SAM 3 and a MobileSAM of random weights, a server of the latter, and drawn figures to segment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.domain import Image, Point
from benchmarks.random_weights import random_mobile_sam, random_sam3, small_sam3
from label_studio_config.demo.figures import draw_figure
from tests.backend.weights_server import WeightsServer, weights_server

CLICK = Point(200, 300)


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of a SAM 3 with few layers, which is built that way as long as the fixture lives."""
    with small_sam3():
        yield random_sam3(tmp_path_factory.mktemp("weights"), seed=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_mobile_sam(tmp_path_factory.mktemp("weights"), seed=3)


@pytest.fixture
def server(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    with weights_server(monkeypatch, weights) as running:
        yield running


def upright(seed: int) -> Image:
    return Image(draw_figure(seed).pixels, f"upright-{seed}", "s")
