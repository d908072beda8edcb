from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.parts.coco import CocoError, mask_of, read_coco
from tests.support import shapes


def runs_of(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[int]:
    flat = np.concatenate([[False], mask.T.ravel()])
    changes = np.flatnonzero(np.diff(flat.astype(int)))
    return np.diff([0, *changes, mask.size]).tolist()


def compressed(runs: list[int]) -> str:
    """`rleToString` of cocoapi's maskApi.c."""
    text = ""
    for number, run in enumerate(runs):
        value, more = run - (runs[number - 2] if number > 2 else 0), True
        while more:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(48 + (bits | (0x20 if more else 0)))
    return text


@pytest.mark.parametrize("name", list(shapes()))
def test_run_lengths_plain_and_compressed_are_read_exactly(name: str) -> None:
    mask = shapes()[name]
    height, width = mask.shape
    runs = runs_of(mask)
    for counts in (runs, compressed(runs)):
        read = mask_of({"size": [height, width], "counts": counts}, size_wh=(width, height))
        assert np.array_equal(read, mask)


def test_polygons_run_along_pixel_edges() -> None:
    mask = mask_of([[3, 2, 13, 2, 13, 9, 3, 9], [20, 2, 24, 2, 24, 5, 20, 5]], size_wh=(40, 12))
    assert mask[5, 8] and mask[3, 22] and not mask[5, 16]
    assert mask.sum() == 10 * 7 + 4 * 3


def test_a_file_gives_its_masks_and_passes_over_crowds(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((12, 40, 3), (10, 20, 30), np.uint8))
    polygon = [[3, 2, 13, 2, 13, 9, 3, 9]]
    content = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [
            {"id": 1, "image_id": 7, "segmentation": polygon, "iscrowd": 0},
            {"id": 2, "image_id": 7, "segmentation": {"size": [12, 40], "counts": [480]}, "iscrowd": 1},
        ],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    ((image, mask),) = read_coco(tmp_path / "c.json", tmp_path, limit=9)
    assert image.pixels[0, 0].tolist() == [30, 20, 10]
    assert mask.shape == (12, 40) and mask[5, 8]


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [({"size": [12, 40], "counts": [3]}, "annotation 5"), ({"size": [1, 2], "counts": [480]}, "annotation 5")],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, segmentation: object, words: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((12, 40, 3), np.uint8))
    content = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "annotations": [{"id": 5, "image_id": 7, "segmentation": segmentation}],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(CocoError, match=words):
        list(read_coco(tmp_path / "c.json", tmp_path, limit=9))
    (tmp_path / "a.png").unlink()
    with pytest.raises(CocoError, match=r"a\.png"):
        list(read_coco(tmp_path / "c.json", tmp_path, limit=9))
