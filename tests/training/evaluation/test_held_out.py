"""Held-out images: what is in memory of them, and what in files."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.errors import ImageError, StorageError
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task
from backend.settings import Settings
from tests.full_disk import full_disk
from training.annotations.approvals import Approved
from training.evaluation.held_out import held_out_images

XML = """<View><Image name="i" value="$image"/>
<PolygonLabels name="p" toName="i"><Label value="saree"/></PolygonLabels></View>"""
CONFIG = parse_label_config(XML)


def approved(task_id: int, width: int, height: int) -> Approved:
    """An annotation of a picture in the task itself: a saree in its left half."""
    pixels = np.random.default_rng(task_id).integers(0, 256, (height, width, 3), np.uint8)
    encoded = base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode()
    region = {
        "from_name": "p",
        "to_name": "i",
        "type": "polygonlabels",
        "original_width": width,
        "original_height": height,
        "value": {"points": [[0, 0], [50, 0], [50, 100], [0, 100]], "polygonlabels": ["saree"]},
    }
    return Approved(task_id, task_id, {"image": f"data:image/png;base64,{encoded}"}, [region], "hash")


def test_pixels_are_read_from_files_as_a_model_sees_them_in_production(tmp_path: Path) -> None:
    store = ImageStore(Settings(), bearer=str)
    annotations = [approved(1, 80, 40), approved(2, 30, 20), approved(3, 30, 20)]
    annotations[1].data["image"] = "data:image/png;base64,AAAA"
    held_out = list(held_out_images(annotations, CONFIG, store, side_px=64, folder=tmp_path / "held_out"))
    assert [(one.task_id, one.image.size_wh) for one in held_out] == [(1, (64, 32)), (3, (30, 20))]
    for one in held_out:
        expected = load_image(store, Task(id=one.task_id, data=annotations[one.task_id - 1].data), CONFIG, side_px=64)
        assert np.array_equal(one.image.pixels, expected.pixels) and one.image.key == expected.key
        # Each use reads them: none stays in memory.
        assert one.image.pixels is not one.image.pixels
        assert one.truth[0].mask.shape == expected.pixels.shape[:2] and 0.4 < one.truth[0].mask.mean() < 0.6
    # At another size, beside these.
    smaller = list(held_out_images(annotations, CONFIG, store, side_px=16, folder=tmp_path / "held_out"))
    assert [one.image.pixels.shape for one in (*held_out, *smaller)] == [
        (32, 64, 3),
        (20, 30, 3),
        (8, 16, 3),
        (11, 16, 3),
    ]


def test_a_full_disk_is_said_and_no_image_is_left_out_for_it(tmp_path: Path) -> None:
    store = ImageStore(Settings(), bearer=str)
    with full_disk(), pytest.raises(StorageError, match="make room"):
        list(held_out_images([approved(1, 80, 40)], CONFIG, store, side_px=64, folder=tmp_path / "held_out"))


@pytest.mark.parametrize("is_emptied", [False, True])
def test_a_file_that_is_gone_is_said(tmp_path: Path, is_emptied: bool) -> None:
    store = ImageStore(Settings(), bearer=str)
    (one,) = held_out_images([approved(1, 80, 40)], CONFIG, store, side_px=64, folder=tmp_path)
    file = next(tmp_path.iterdir())
    if is_emptied:
        file.write_bytes(b"")
    else:
        file.unlink()
    with pytest.raises(ImageError, match="can no longer be read"):
        _ = one.image.pixels
