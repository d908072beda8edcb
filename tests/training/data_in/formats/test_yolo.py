"""YOLO sets as the tools lay them out: side by side, with lists, images elsewhere, and other names of the YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.errors import DatasetError
from tests.training.data_in.drawn import SIZE, blob, body, save
from training.data_in.annotated_image import Source
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.formats.yolo import BOX, ELSEWHERE, NO_IMAGE, NOT_THERE


def line(number: str, polygon: list[float]) -> str:
    return " ".join([number, *map(str, (np.array(polygon).reshape(-1, 2) / SIZE).ravel())]) + "\n"


def write(image: Path, text: Path, number: str = "0") -> None:
    save(image, 1)
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(line(number, body(0.0)))


def opened(path: Path, **options: Any) -> Source:
    form, source = open_set([str(path)], None, ReadOptions(**options))
    assert form == "yolo"
    return source


def garments(path: Path, **options: Any) -> dict[str, list[str]]:
    return {image.picture.name: [one.name for one in image.garments] for image in opened(path, **options).images}


def test_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "z1.jpg", tmp_path / "z1.txt", number="1.000000")
    save(tmp_path / "z2.jpg", 2)
    # With a byte order mark, the first class would be lost.
    (tmp_path / "classes.txt").write_bytes("\ufeffsaree\nblouse\n".encode())
    assert garments(tmp_path) == {"z1.jpg": ["blouse"], "z2.jpg": []}


def test_boxes_side_by_side_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "z1.jpg", tmp_path / "z1.txt")
    (tmp_path / "z1.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert [image.notes for image in opened(tmp_path).images] == [(BOX,)]


@pytest.mark.parametrize("train", ["images", "./images", "../images", "train.txt", "['images']"])
def test_the_yaml_file_may_have_any_name_and_name_folders_or_lists(train: str, tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.jpg", tmp_path / "labels" / "a.txt")
    (tmp_path / "train.txt").write_text("./images/a.jpg\n")
    file = tmp_path / "foo.yaml"
    file.write_text(f"path: /datasets/of/another/machine\ntrain: {train}\nnames: [saree]\n")
    for path in (file, tmp_path):
        assert garments(path) == {"images/a.jpg": ["saree"]}


def test_only_the_parts_of_a_named_yaml_file_come_in_and_missing_ones_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "one" / "images" / "a.jpg", tmp_path / "one" / "labels" / "a.txt")
    write(tmp_path / "two" / "images" / "b.jpg", tmp_path / "two" / "labels" / "b.txt")
    (tmp_path / "foo.yaml").write_text("train: one/images\nval: list.txt\ntest: none/images\nnames: {0: saree}\n")
    (tmp_path / "list.txt").write_text("one/images/none.jpg\n")
    source = opened(tmp_path / "foo.yaml")
    assert [image.picture.name for image in source.images] == ["one/images/a.jpg"]
    assert dict(source.left_out) == {
        (NOT_THERE, "list.txt: one/images/none.jpg"): 1,
        (NOT_THERE, "test: none/images"): 1,
    }


@pytest.mark.parametrize("is_named", [False, True])
def test_texts_without_an_image_and_images_without_texts_are_counted(is_named: bool, tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.jpg", tmp_path / "labels" / "a.txt")
    for name in ("b", "c"):
        (tmp_path / "labels" / f"{name}.txt").write_text(line("0", blob(20, 20)))
    # It shows no garment, so nothing is lost; the other is a list of names.
    (tmp_path / "labels" / "d.txt").write_text("")
    (tmp_path / "classes.txt").write_text("saree\n")
    save(tmp_path / "test" / "images" / "e.jpg", 1)
    source = opened(tmp_path, images=tmp_path / "images" if is_named else None)
    assert [Path(image.picture.name).name for image in source.images] == ["a.jpg"]
    elsewhere = {} if is_named else {(ELSEWHERE, "test/images/e.jpg"): 1}
    assert dict(source.left_out) == {(NO_IMAGE, "labels/b.txt"): 2, **elsewhere}


def test_names_that_are_too_long_for_files_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.jpg", tmp_path / "labels" / "a.txt")
    (tmp_path / "list.txt").write_text(f"images/a.jpg\n{'b' * 300}.jpg\n")
    (tmp_path / "foo.yaml").write_text(f"train: list.txt\nval: {'a' * 300}\nnames: [saree]\n")
    source = opened(tmp_path / "foo.yaml")
    assert [image.picture.name for image in source.images] == ["images/a.jpg"]
    assert sum(source.left_out.values()) == 2


def test_images_elsewhere_belong_to_texts_of_their_path_or_name(tmp_path: Path) -> None:
    texts, images = tmp_path / "set" / "labels", tmp_path / "photos"
    for part in ("train", "val"):
        write(images / part / "a.jpg", texts / part / "a.txt")
    write(images / "other" / "b.jpg", texts / "train" / "b.txt")
    save(images / "c.jpg", 1)
    (tmp_path / "set" / "data.yaml").write_text("names: [saree]\n")
    expected = {"train/a.jpg": ["saree"], "val/a.jpg": ["saree"], "other/b.jpg": ["saree"], "c.jpg": []}
    assert garments(tmp_path / "set" / "data.yaml", images=images) == expected
    (texts / "val" / "b.txt").write_text(line("0", blob(20, 20)))
    with pytest.raises(DatasetError, match=r"b\.jpg has several text files .*train/b\.txt, labels/val/b\.txt"):
        garments(tmp_path / "set" / "data.yaml", images=images)


REFUSED = [
    ("names: saree\n", r"`names: saree` is no list; one class is `names: \[saree\]`"),
    ("names: {a: saree}\n", "cannot be read as YOLO's list of classes"),
    ("names: [saree\n", r"data\.yaml is not YAML"),
    ("- saree\n", r"data\.yaml does not describe a YOLO set"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_a_yaml_file_that_names_no_classes_is_refused(text: str, said: str, tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.jpg", tmp_path / "labels" / "a.txt")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=said):
        garments(tmp_path / "data.yaml")


def test_a_set_without_images_says_what_its_yaml_file_names(tmp_path: Path) -> None:
    (tmp_path / "foo.yaml").write_text("train: images/train\nnames: [saree]\n")
    with pytest.raises(DatasetError, match=r"its YAML file names what is not there: train: images/train\. Name the"):
        opened(tmp_path / "foo.yaml")


def test_texts_and_names_of_other_encodings_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.jpg", tmp_path / "labels" / "a.txt")
    (tmp_path / "classes.txt").write_bytes("dress\n襯衫\n".encode("cp950"))
    with pytest.raises(DatasetError, match=r"classes\.txt, line 2, is not UTF-8 text"):
        opened(tmp_path)
    (tmp_path / "classes.txt").write_text("dress\n")
    (tmp_path / "labels" / "a.txt").write_bytes((tmp_path / "labels" / "a.txt").read_text().encode("utf-16-le"))
    with pytest.raises(DatasetError, match=r"labels/a\.txt, line 1, is not UTF-8 text"):
        list(opened(tmp_path).images)
