"""labelme's files, as its versions write them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data_in.drawn import HEIGHT, SIZE, WIDTH, blob, body, drawn, encoded, pairs, save
from tests.training.data_in.sets import write_labelme
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.formats.labelme import DAMAGED, OTHER_IMAGE, TAKEN, UNREADABLE


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


def test_an_image_whose_file_names_another_one_comes_in_and_is_named(tmp_path: Path) -> None:
    """labelme shows the garments of `a.json` on the image that it names."""
    shapes = [{"label": "dress", "points": pairs(body(0.0))}]
    for name in ("a.jpg", "a.png", "b.jpg"):
        save(tmp_path / name, 1)
    write_labelme(tmp_path / "a.json", shapes, imagePath="b.jpg")
    found = {image.picture.name: (len(image.garments), image.notes) for image in read(tmp_path)}
    assert found == {"b.jpg": (1, ()), "a.jpg": (0, (OTHER_IMAGE,)), "a.png": (0, (OTHER_IMAGE,))}


def test_a_set_is_the_same_however_its_path_is_spelled(tmp_path: Path) -> None:
    for name in ("a", "below/b"):
        save(tmp_path / "set" / f"{name}.jpg", 1)
        write_labelme(tmp_path / "set" / f"{name}.json", [{"label": "dress", "points": pairs(body(0.0))}])
    images = read(tmp_path / "set" / "below" / "..")
    assert [(image.picture.name, len(image.garments)) for image in images] == [("a.jpg", 1), ("below/b.jpg", 1)]


def test_a_file_does_not_take_an_image_that_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Whoever copies `b.json` to `a.json` copies its imagePath."""
    for name in ("a", "b"):
        save(tmp_path / f"{name}.jpg", 1)
    write_labelme(tmp_path / "a.json", [{"label": "dress", "points": pairs(body(0.0))}], imagePath="b.jpg")
    write_labelme(tmp_path / "b.json", [{"label": "top", "points": pairs(body(0.0))}])
    found = {image.picture.name: ([one.name for one in image.garments], image.notes) for image in read(tmp_path)}
    assert found == {"a.jpg": ([], (TAKEN,)), "b.jpg": (["top"], ())}


ODD_FACTS = [
    ("a path of no file", {"imagePath": "x" * 5000}, [1], ()),
    ("a size of no image", {"imageWidth": 900_000, "imageHeight": 900_000}, [1], (UNREADABLE,)),
]


@pytest.mark.parametrize(
    ("facts", "outlines", "notes"), [case[1:] for case in ODD_FACTS], ids=[c[0] for c in ODD_FACTS]
)
def test_odd_facts_lose_no_garment(
    facts: dict[str, Any], outlines: list[int], notes: tuple[str, ...], tmp_path: Path
) -> None:
    save(tmp_path / "a.jpg", 1)
    shapes: list[dict[str, Any]] = [{"label": "dress", "points": pairs(body(0.0))}]
    if notes:
        # A mask of that size would take 754 GiB.
        mask = base64.b64encode(encoded(np.ones((3, 3), np.uint8), "PNG")).decode()
        shapes.append({"label": "hat", "points": [[1, 1], [3, 3]], "shape_type": "mask", "mask": mask})
    write_labelme(tmp_path / "a.json", shapes, **facts)
    (image,) = read(tmp_path)
    assert ([len(one.outlines) for one in image.garments], image.notes) == (outlines, notes)


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
