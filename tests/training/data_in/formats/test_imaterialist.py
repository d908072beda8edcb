"""Rows of iMaterialist's table that no image can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.data_in.sets import imaterialist
from training.data_in.formats.coco import UNREADABLE
from training.data_in.formats.detect import ReadOptions, open_set


@pytest.mark.parametrize("runs", ["99999999999999999999 5", "1 9223372036854775807", "-1 5", "1", "", "x y"])
def test_run_lengths_outside_the_image_are_left_out(runs: str, tmp_path: Path) -> None:
    made = imaterialist(tmp_path)
    with made.path.open("a") as table:
        table.write(f"b2,{runs},90,120,7,\n")
    _, last = open_set([str(made.path)], None, ReadOptions())[1].images
    assert UNREADABLE in last.notes and len(last.garments) == 1
