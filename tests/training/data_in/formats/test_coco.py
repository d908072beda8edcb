"""COCO files as programs of all kinds write them: ids of other types, and parts that do not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.data_in.drawn import HEIGHT, WIDTH, body, save
from training.data_in.annotated_image import id_text
from training.data_in.formats.coco import SAME_ID, UNLISTED, UNREADABLE
from training.data_in.formats.detect import ReadOptions, open_set


def write(folder: Path, **changed: Any) -> Path:
    """A set of one image and one garment, with parts of it changed."""
    save(folder / "x.jpg", 1)
    facts: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "x.jpg", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "dress"}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": [body(0.0)]}],
    }
    file = folder / "set.json"
    file.write_text(json.dumps({**facts, **changed}))
    return file


IDS: list[tuple[object, object]] = [(1, 1.0), (1.0, 1), ("1", 1), (1, "1.0"), ("a", "a")]


@pytest.mark.parametrize(("listed", "used"), IDS)
def test_ids_are_compared_by_value(listed: object, used: object, tmp_path: Path) -> None:
    file = write(
        tmp_path,
        images=[{"id": listed, "file_name": "x.jpg"}],
        categories=[{"id": listed, "name": "dress"}],
        annotations=[{"image_id": used, "category_id": used, "segmentation": [body(0.0)]}],
    )
    source = open_set([str(file)], None, ReadOptions())[1]
    (image,) = source.images
    assert [garment.name for garment in image.garments] == ["dress"]
    assert not source.left_out


@pytest.mark.parametrize(
    ("number", "text"), [(1.5, "1.5"), ("0.000000", "0"), ("-2.0", "-2"), ("1.0.0", "1.0.0"), (10**20, "1" + "0" * 20)]
)
def test_the_text_of_an_id(number: object, text: str) -> None:
    assert id_text(number) == text


def test_what_belongs_to_no_image_is_counted(tmp_path: Path) -> None:
    rows = [{"image_id": image, "category_id": 1, "segmentation": [body(0.0)]} for image in (1, 7, 7.0, "8")]
    images = [{"id": 1, "file_name": "x.jpg"}, {"id": 1.0, "file_name": "y.jpg"}]
    source = open_set([str(write(tmp_path, annotations=rows, images=images))], None, ReadOptions())[1]
    assert dict(source.left_out) == {(UNLISTED, "image_id 7"): 3, (SAME_ID, "y.jpg"): 1}
    assert source.count == 1


SHAPES: list[object] = [5, "text", [[None, 1, 2, 3, 4, 5]], {"size": "x", "counts": []}, [5]]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_another_kind_are_left_out(shape: object, tmp_path: Path) -> None:
    rows = [{"image_id": 1, "category_id": 1, "segmentation": shape}]
    (image,) = open_set([str(write(tmp_path, annotations=rows))], None, ReadOptions())[1].images
    assert image.notes == (UNREADABLE,)


@pytest.mark.parametrize("width", ["wide", None, -5, 0])
def test_a_size_of_another_kind_is_none(width: object, tmp_path: Path) -> None:
    images = [{"id": 1, "file_name": "x.jpg", "width": width, "height": HEIGHT}]
    (image,) = open_set([str(write(tmp_path, images=images))], None, ReadOptions())[1].images
    assert image.size_wh is None and len(image.garments) == 1


def test_run_lengths_of_a_giant_image_are_left_out(tmp_path: Path) -> None:
    """They would take gigabytes, where the file gives no size of the image."""
    shapes = [{"size": [100_000, 100_000], "counts": counts} for counts in ([10**10], "abc")]
    rows = [{"image_id": 1, "category_id": 1, "segmentation": shape} for shape in shapes]
    images = [{"id": 1, "file_name": "x.jpg"}]
    (image,) = open_set([str(write(tmp_path, annotations=rows, images=images))], None, ReadOptions())[1].images
    assert image.notes == (UNREADABLE, UNREADABLE)
