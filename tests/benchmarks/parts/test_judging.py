"""Both ways of judging a new version say the same."""

from pathlib import Path

import pytest

from backend.settings import Settings
from benchmarks.parts.judging import compare, drawn_images, starter_in_openvino


@pytest.mark.slow
def test_both_ways_say_the_same(tmp_path: Path) -> None:
    compare(starter_in_openvino(tmp_path), drawn_images(3, tmp_path), Settings())
