"""Both ways of judging a new version say the same."""

from pathlib import Path

import pytest

from backend.detector.starter import STARTER, starter_facts
from backend.settings import Settings
from benchmarks.parts.judging import compare, drawn_images
from training.garment_base.photograph_set import load_weights


@pytest.mark.slow
def test_both_ways_say_the_same(tmp_path: Path) -> None:
    detector = load_weights(STARTER, image_size_px=starter_facts().image_size_px)
    compare(detector, drawn_images(3, tmp_path), Settings())
