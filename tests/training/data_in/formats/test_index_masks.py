"""The names of the numbers in masks: whether line 1 is number 0 or 1 is never guessed. Which images have a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.errors import DatasetError
from tests.training.data_in.drawn import blob, drawn, index_of, save
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.formats.index_masks import UNMASKED


def write(folder: Path, *numbers: int) -> None:
    save(folder / "images" / "x.jpg", 1)
    (folder / "masks").mkdir()
    index = index_of({number: [drawn(blob(20.0 + 30 * place, 20))] for place, number in enumerate(numbers)})
    Image.fromarray(index.astype(np.uint8)).save(folder / "masks" / "x.png")


def names(folder: Path, classes: str = "") -> list[str]:
    form, source = open_set([str(folder)], None, ReadOptions(classes=classes))
    assert form == "masks"
    return [garment.name for image in source.images for garment in image.garments]


FIRST_LINES = ["background", "_background_", "BG", "", "__ignore__\n_background_"]


@pytest.mark.parametrize("first", FIRST_LINES)
def test_line_one_is_the_background(first: str, tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    (tmp_path / "labels.txt").write_text(f"{first}\nsaree\nblouse\n")
    assert names(tmp_path) == ["saree", "blouse"]


def test_names_without_a_background_are_asked_about(tmp_path: Path) -> None:
    """Else every class would be the one after it, and nothing would tell: no mask holds the highest number."""
    write(tmp_path, 1, 2)
    (tmp_path / "labels.txt").write_text("saree\nblouse\ndupatta\n")
    with pytest.raises(
        DatasetError, match=r"Line 1 of .*labels\.txt is 'saree', but names number 0 .*write a line 'back"
    ):
        names(tmp_path)


def test_numbers_that_have_no_line_are_asked_about(tmp_path: Path) -> None:
    write(tmp_path, 1, 3)
    (tmp_path / "labels.txt").write_text("background\nsaree\nblouse\n")
    with pytest.raises(DatasetError, match=r"x\.png holds the number 3, but the class names end with 2, 'blouse'"):
        names(tmp_path)
    with pytest.raises(DatasetError, match=r"class names shoes\.txt does not exist"):
        names(tmp_path, classes="shoes.txt")


def test_pixels_that_nobody_decided_on_are_no_class(tmp_path: Path) -> None:
    write(tmp_path, 1, 255)
    (tmp_path / "labels.txt").write_text("background\nsaree\n")
    assert names(tmp_path) == ["saree", "255"]


@pytest.mark.parametrize("given", [None, "images"])
def test_photographs_without_a_mask_are_counted(given: str | None, tmp_path: Path) -> None:
    write(tmp_path, 1)
    for name in ("y.jpg", "z.png"):
        save(tmp_path / "images" / name, 2)
    images = None if given is None else tmp_path / given
    source = open_set([str(tmp_path)], "masks", ReadOptions(images=images))[1]
    assert dict(source.left_out) == {(UNMASKED, "y.jpg" if given else "images/y.jpg"): 2}
    assert [image.picture.file for image in source.images] == [tmp_path / "images" / "x.jpg"]


def test_the_numbers_of_objects_beside_the_masks_are_no_classes(tmp_path: Path) -> None:
    """Pascal VOC, which CVAT also writes: three objects of one class."""
    write(tmp_path, 1, 1, 1)
    (tmp_path / "masks").rename(tmp_path / "SegmentationClass")
    (tmp_path / "SegmentationObject").mkdir()
    index = index_of({number: [drawn(blob(20.0 * number, 20))] for number in (1, 2, 3)})
    Image.fromarray(index.astype(np.uint8)).save(tmp_path / "SegmentationObject" / "x.png")
    (tmp_path / "labels.txt").write_text("background\nsaree\n")
    assert names(tmp_path) == ["saree"]
