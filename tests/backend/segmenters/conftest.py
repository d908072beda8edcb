"""A small SAM 3 of random weights, and drawn figures to segment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.domain import Image, Point
from benchmarks.random_weights import random_sam3, small_sam3
from label_studio_config.demo.figures import draw_figure

CLICK = Point(200, 300)


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkpoint of a SAM 3 with few layers, which is built that way as long as the fixture lives."""
    with small_sam3():
        yield random_sam3(tmp_path_factory.mktemp("weights"), seed=1)


def upright(seed: int) -> Image:
    return Image(draw_figure(seed).pixels, f"upright-{seed}", "s")
