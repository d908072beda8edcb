"""Pictures become files whole, or it is said that they did not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.full_disk import full_disk
from training.data_out.picture_files import write_picture

RED, HALF_RED = (200, 10, 20), (200, 10, 20, 128)


@pytest.mark.parametrize(("name", "colour"), [("a.png", RED), ("a.png", HALF_RED), ("a.webp", HALF_RED)])
def test_colours_stay_in_their_order(tmp_path: Path, name: str, colour: tuple[int, ...]) -> None:
    pixels = np.full((4, 6, len(colour)), colour, np.uint8)
    write_picture(tmp_path / "new" / name, pixels)
    with Image.open(tmp_path / "new" / name) as opened:
        assert opened.size == (6, 4)
        assert np.abs(np.asarray(opened).astype(int) - pixels).max() <= 8


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (40, 60, 3), np.uint8)
    with full_disk(), pytest.raises(OSError, match="too large"):
        write_picture(tmp_path / "a.png", noise)
