"""labelme's files, as its versions write them."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from tests.training.data_in.sets import HEIGHT, SIZE, WIDTH, blob, body, drawn, encoded, pairs, save, write_labelme
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.formats.labelme import DAMAGED, UNREADABLE


def read(folder: Path) -> list[AnnotatedImage]:
    form, source = open_set([str(folder)], None, ReadOptions())
    images = list(source.images)
    assert form == "labelme" and len(images) <= source.count
    return images


def test_polygons_and_masks_are_read_and_an_image_without_a_file_comes_too(tmp_path: Path) -> None:
    corner = np.zeros((20, 31), np.uint8)
    corner[2:18, 3:30] = 1
    mask = base64.b64encode(encoded(corner, "PNG")).decode()
    write_labelme(
        tmp_path / "a.json",
        [
            {"label": "dress", "points": pairs(body(0.0)), "shape_type": "polygon", "group_id": None},
            # Two parts of one garment, and one garment of another label with the same number.
            {"label": "top", "points": pairs(blob(20, 20)), "group_id": 1},
            {"label": "bag", "points": pairs(blob(100, 20)), "group_id": 1},
            {"label": "top", "points": pairs(blob(80, 60)), "group_id": 1},
            {"label": "hat", "points": [[10, 5], [41, 25]], "shape_type": "mask", "mask": mask},
            {"label": "hat", "points": [[1, 1], [5, 5]], "shape_type": "rectangle"},
            {"label": "hat", "points": [[1, 1]], "shape_type": "polygon"},
        ],
    )
    for number, name in enumerate(("a.jpg", "b.jpg")):
        save(tmp_path / name, number)
    first, second = read(tmp_path)
    assert [garment.name for garment in first.garments] == ["dress", "top", "bag", "hat"]
    assert (first.garments[1].to_mask(SIZE) == drawn(blob(20, 20), blob(80, 60))).all()
    hat = np.zeros((HEIGHT, WIDTH), bool)
    hat[5:25, 10:41] = corner.astype(bool)
    assert (first.garments[3].to_mask(SIZE) == hat).all()
    assert first.notes == ("shape that is no outline (rectangle)", UNREADABLE)
    assert second.picture.name == "b.jpg" and not second.garments


def test_the_image_is_the_named_one_or_the_one_beside_or_the_one_within(tmp_path: Path) -> None:
    shapes = [{"label": "dress", "points": pairs(body(0.0))}]
    save(tmp_path / "images" / "p.png", 1)
    write_labelme(tmp_path / "jsons" / "a.json", shapes, imagePath="..\\images\\p.png")
    save(tmp_path / "jsons" / "b.jpg", 2)
    write_labelme(tmp_path / "jsons" / "b.json", shapes, imagePath="C:\\photos\\other.jpg", imageWidth=None)
    content = save(tmp_path / "c.jpg", 3).read_bytes()
    (tmp_path / "c.jpg").unlink()
    write_labelme(tmp_path / "jsons" / "c.json", shapes, imageData=base64.b64encode(content).decode())
    write_labelme(tmp_path / "jsons" / "d.json", shapes)
    named, beside, within, missing = read(tmp_path)
    assert named.picture.name == "images/p.png" and len(named.garments) == 1
    assert beside.picture.name == "jsons/b.jpg" and beside.size_wh is None and len(beside.garments) == 1
    assert within.picture.name == "jsons/c.jpg" and within.picture.encoded == content
    assert not missing.picture.is_found


def test_a_damaged_file_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jpg", 1)
        write_labelme(tmp_path / f"{name}.json", [{"label": "dress", "points": pairs(body(0.0))}])
    (tmp_path / "b.json").write_text('{"shapes": [5], "imagePath": "b.jpg"}')
    good, damaged = read(tmp_path)
    assert len(good.garments) == 1 and damaged.notes == (DAMAGED,)
    assert damaged.picture.name == "b.jpg"


@pytest.mark.parametrize("content", ["", '{"note": "of another program"}'])
def test_an_image_whose_file_is_not_labelmes_comes_in_and_the_file_is_named(content: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jpg", 1)
        write_labelme(tmp_path / f"{name}.json", [{"label": "dress", "points": pairs(body(0.0))}])
    (tmp_path / "b.json").write_text(content)
    good, damaged = read(tmp_path)
    assert len(good.garments) == 1
    assert damaged.picture.name == "b.jpg" and damaged.notes == (DAMAGED,)


def test_a_mask_at_an_infinite_place_is_unreadable(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", 1)
    mask = base64.b64encode(encoded(np.ones((3, 3), np.uint8), "PNG")).decode()
    shape = {"label": "hat", "points": [[float("inf"), 5], [41, 25]], "shape_type": "mask", "mask": mask}
    write_labelme(tmp_path / "a.json", [shape])
    (image,) = read(tmp_path)
    assert image.notes == (UNREADABLE,)


def test_one_file_is_one_image(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jpg", 1)
        write_labelme(tmp_path / f"{name}.json", [{"label": "dress", "points": pairs(body(0.0))}])
    (image,) = open_set([str(tmp_path / "b.json")], None, ReadOptions())[1].images
    assert image.picture.name == "b.jpg" and len(image.garments) == 1
