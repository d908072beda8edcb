from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backend.domain import Image, Mask
from backend.segmenters.builtin.network import load_builtin
from benchmarks.parts.quality import FloodFill, clicks, main, outlines, report
from label_studio_config.demo.write import write_yolo_dataset


def squares() -> list[tuple[Image, Mask]]:
    """One red and one two-coloured rectangle on grey."""
    found: list[tuple[Image, Mask]] = []
    for number in (0, 1):
        pixels = np.full((90, 160, 3), 120, np.uint8)
        pixels[20:70, 30:100] = (200, 40, 40)
        if number:
            pixels[20:30, 30:100] = (40, 40, 200)
        truth = np.zeros((90, 160), bool)
        truth[20:70, 30:100] = True
        found.append((Image(pixels, str(number), "drawn"), truth))
    return found


def test_a_report_holds_every_segmenter_and_the_published_figures_marked(tmp_path: Path) -> None:
    found = report(squares(), [FloodFill(), load_builtin()], tmp_path / "new" / "quality.json")
    assert [(one.segmenter, one.clicks) for one in found] == [
        (name, kind) for name in ("flood fill", "builtin") for kind in ("centre", "jittered")
    ]
    content = json.loads((tmp_path / "new" / "quality.json").read_text())
    *ours, theirs = content["clicks"]
    assert {one["source"] for one in ours} == {"measured here"}
    assert theirs["segmenter"] == "SAM 3" and "their paper" in theirs["source"] and theirs["n"] is None
    assert [one["tolerance_px"] for one in content["polygons"]] == [0.5, 1.2, 2.0]


def test_a_flood_fill_needs_a_click_for_each_colour() -> None:
    found = clicks(FloodFill(), squares(), jittered=False)
    # At once on the first; on the second four fifths, and all with the second click.
    assert found.iou_1 == pytest.approx((1 + 0.8) / 2)
    assert found.iou_3 == found.iou_5 == 1
    assert found.noc_85 == found.noc_90 == 1.5


def test_outlines_of_rectangles_are_nearly_exact_with_few_points() -> None:
    found = outlines(squares(), tolerance_px=1.0)
    assert found.iou >= 0.985
    assert 4 <= found.points <= 8 and found.n == 2


@pytest.mark.slow
def test_any_annotated_set_is_measured(tmp_path: Path) -> None:
    write_yolo_dataset(tmp_path / "set", train_seeds=range(70, 72), val_seeds=[72])
    into = tmp_path / "quality.json"
    main(tmp_path / "set", "indo_western", first=2, limit=2, into=into)
    *ours, _ = json.loads(into.read_text())["clicks"]
    assert {one["segmenter"] for one in ours} == {"flood fill", "builtin"} and {one["n"] for one in ours} == {2}
    boxes = {one["segmenter"]: one["box"] for one in ours}
    assert 0 < boxes["flood fill"] < boxes["builtin"] <= 1
