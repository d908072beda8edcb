"""Annotated sets are never taken for photographs: what can be read is read, and the rest is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.errors import DatasetError
from tests.training.data_in.drawn import SIZE, body, drawn, save
from tests.training.data_in.sets import roboflow, write_coco
from training.data_in.annotated_image import AnnotatedImage, Source
from training.data_in.formats.detect import ReadOptions, SetFormat, annotated_format, open_set


def read(path: Path, form: SetFormat | None = None, **options: Any) -> tuple[SetFormat, list[AnnotatedImage], Source]:
    found, source = open_set([str(path)], form, ReadOptions(**options))
    return found, list(source.images), source


def test_the_parts_of_a_set_are_read_together(tmp_path: Path) -> None:
    form, images, source = read(roboflow(tmp_path / "set").path)
    assert (form, source.count) == ("coco", 3)
    assert [image.picture.name for image in images] == ["test/x.jpg", "train/x.jpg", "valid/x.jpg"]
    assert [image.picture.file for image in images] == [tmp_path / "set" / image.picture.name for image in images]
    assert [len(image.garments) for image in images] == [1, 1, 1]


def test_coco_with_a_byte_order_mark_beside_its_images_is_read(tmp_path: Path) -> None:
    file = tmp_path / "train" / "_annotations.coco.json"
    save(tmp_path / "train" / "x.jpg", 1)
    write_coco(file, ["x.jpg"], ["dress"], [(1, 0, [body(0.0)], 0)])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    for path in (tmp_path, tmp_path / "train", file):
        form, images, _ = read(path)
        assert form == "coco" and len(images[0].garments) == 1


def test_several_coco_files_of_one_folder_are_asked_about(tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", 1)
    for name in ("train", "val"):
        write_coco(tmp_path / "annotations" / f"{name}.json", ["x.jpg"], ["dress"], [])
    with pytest.raises(
        DatasetError, match=r"contains 2 COCO files \(annotations/train\.json, .*val\.json\)\. Give the"
    ):
        read(tmp_path)


TASK = {"id": 1, "data": {"image": "/data/upload/9/0a1b2c3d-x.jpg"}, "annotations": []}
LIKE_ANNOTATIONS: list[tuple[str, str]] = [
    ("results.json", json.dumps([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.9}])),
    ("project-1.json", json.dumps([TASK])),
    ("x.json", json.dumps({"anything": 1})),
    ("x.jpg.json", "{}"),
    ("half.json", '{"shop": ['),
    ("x.xml", "<annotation><filename>x.jpg</filename></annotation>"),
    ("cvat.xml", "<?xml version='1.0'?><annotations/>"),
    ("x.txt", "a caption"),
    ("below/x.npz", "numbers"),
    ("via.json", json.dumps({"x.jpg1": {"filename": "x.jpg", "regions": [{"shape_attributes": {}}]}})),
    ("project.json", json.dumps({"_via_settings": {}, "_via_img_metadata": {}})),
    ("masks/x.jpg", "a mask that somebody saved as JPEG"),
    ("table.csv", "filename,xmin,ymin,xmax,ymax,class\n"),
    ("train.csv", "ImageId,EncodedPixels,Height,Width,ClassId\n"),
]


@pytest.mark.parametrize(("name", "text"), LIKE_ANNOTATIONS, ids=[name for name, _ in LIKE_ANNOTATIONS])
def test_what_looks_like_annotations_is_refused_by_name(name: str, text: str, tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", 1)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    with pytest.raises(DatasetError, match=f"{name}.*To import the photographs alone: --format photographs"):
        read(tmp_path)
    assert name in annotated_format(tmp_path)
    form, images, _ = read(tmp_path, "photographs")
    assert form == "photographs" and len(images) == (2 if name.endswith("x.jpg") else 1)


def test_a_mask_that_is_named_after_its_photograph_is_none(tmp_path: Path) -> None:
    save(tmp_path / "set" / "x.jpg", 1)
    save(tmp_path / "set" / "x_mask.png", 2)
    with pytest.raises(DatasetError, match=r"x_mask\.png"):
        read(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "text"), [("README.txt", "photographs of 2024"), ("shop.json", '{"a": 1}'), ("a.csv", "price\n1")]
)
def test_other_files_beside_photographs_do_not_matter(name: str, text: str, tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", 1)
    (tmp_path / name).write_text(text)
    assert read(tmp_path)[0] == "photographs"
    assert not annotated_format(tmp_path)


REFUSED: list[tuple[str, Any, str]] = [
    ("COCO results", [{"image_id": 1, "category_id": 1}], "holds COCO results.* Give the set's own COCO file"),
    (
        "JSON-MIN",
        [{"image": "/data/upload/1/x.jpg", "id": 1, "annotator": 1}],
        "JSON-MIN export.* Export the project as",
    ),
    ("VIA", {"x.jpg1": {"regions": [{"shape_attributes": {}}]}}, "VGG Image Annotator. Export .* in COCO's format"),
    ("CreateML", [{"image": "x.jpg", "annotations": []}], "CreateML, which has boxes"),
    ("numbers", [1, 2], "neither COCO"),
    ("keys", {"some": "thing"}, "neither COCO"),
]


@pytest.mark.parametrize(("content", "said"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_json_that_cannot_be_imported_is_refused_with_the_reason(content: Any, said: str, tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=rf"set\.json .*{said}"):
        read(file)


def test_a_single_task_is_read(tmp_path: Path) -> None:
    """As Label Studio's page shows the source of a task; its `annotations` made it look like COCO."""
    file = tmp_path / "task.json"
    # The order of Label Studio's export.
    file.write_text(json.dumps({"id": 1, "annotations": [], "file_upload": "x.jpg", "data": TASK["data"]}))
    form, images, source = read(file)
    assert (form, source.count) == ("label-studio", 1)
    assert images[0].picture.url == "/data/upload/9/0a1b2c3d-x.jpg"


def test_annotations_need_no_ids(tmp_path: Path) -> None:
    """As programs write tasks that Label Studio imports; of two annotations the later one counts."""
    file = tmp_path / "tasks.json"
    size = {"original_width": 100, "original_height": 100}
    value = {"points": [[10, 10], [90, 10], [90, 90]]}
    earlier, later = (
        {"result": [{"id": "r", "type": "polygonlabels", "value": {**value, "polygonlabels": [label]}, **size}]}
        for label in ("dress", "top")
    )
    file.write_text(json.dumps([{"data": TASK["data"], "annotations": [earlier, later]}]))
    _, (image,), _ = read(file)
    assert [garment.name for garment in image.garments] == ["top"]


def test_a_task_without_an_image_names_the_keys_it_has(tmp_path: Path) -> None:
    file = tmp_path / "tasks.json"
    file.write_text(json.dumps([{"id": 1, "data": {"photo": {"url": "x.jpg"}, "sku": 5}}]))
    with pytest.raises(DatasetError, match=r"no image in `data` under the key '\$image', but 'photo', 'sku'"):
        read(file)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"classes": "atr"}, r"--classes is for masks, parquet, yolo\. This set \(photographs\)"),
    ({"crowds": True}, r"--crowds is for coco\. This set"),
]


@pytest.mark.parametrize(("options", "said"), OPTIONS)
def test_options_that_would_change_nothing_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    save(tmp_path / "x.jpg", 1)
    with pytest.raises(DatasetError, match=said):
        read(tmp_path, **options)


@pytest.mark.parametrize("form", ["coco", "deepfashion2", "labelme", "masks", "photographs", "yolo"])
def test_a_set_without_anything_says_what_it_lacks(form: SetFormat, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(holds|contains) no "):
        read(tmp_path, form)


def write_masks(folder: Path) -> None:
    """One index mask `x.png`."""
    folder.mkdir(parents=True)
    Image.fromarray(drawn(body(0.0)).astype(np.uint8)).save(folder / "x.png")


MASK_FOLDERS: list[tuple[str, Callable[[Path], None]]] = [
    ("Category_ids", lambda folder: write_masks(folder / "Category_ids")),
    ("side by side", lambda folder: write_masks(folder / "photos")),
]


@pytest.mark.parametrize("write", [case[1] for case in MASK_FOLDERS], ids=[case[0] for case in MASK_FOLDERS])
def test_masks_are_known_by_their_photographs(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / "set")
    save(tmp_path / "set" / "photos" / "x.jpg", 1)
    form, (image,), _ = read(tmp_path / "set")
    assert form == "masks"
    assert image.picture.file == tmp_path / "set" / "photos" / "x.jpg"
    assert [garment.name for garment in image.garments] == ["1"]


def test_masks_without_their_photographs_are_no_photographs(tmp_path: Path) -> None:
    write_masks(tmp_path / "Category_ids")
    with pytest.raises(DatasetError, match=r"look like their annotations: x\.png\. Name the format"):
        read(tmp_path / "Category_ids")
    grey = Image.open(save(tmp_path / "grey" / "y.jpg", 1)).convert("L")
    grey.save(tmp_path / "grey" / "x.png")
    assert read(tmp_path / "grey")[0] == "photographs"


def test_masks_are_known_by_photographs_elsewhere(tmp_path: Path) -> None:
    write_masks(tmp_path / "Category_ids")
    save(tmp_path / "photos" / "x.jpg", 1)
    (image,) = read(tmp_path / "Category_ids", "masks", images=tmp_path / "photos")[1]
    assert image.picture.is_found and image.garments


NAMES = [
    ("a b.jpg", "a%20b.jpg"),
    ("a%20b.jpg", "a%20b.jpg"),
    # Composed and decomposed letters.
    ("drap\u00e9.jpg", "drape\u0301.jpg"),
    ("drape\u0301.jpg", "folder/drap\u00e9.jpg"),
]


@pytest.mark.parametrize(("stored", "named"), NAMES)
def test_images_are_found_by_other_spellings(stored: str, named: str, tmp_path: Path) -> None:
    save(tmp_path / "images" / stored, 1)
    write_coco(tmp_path / "set.json", [named], ["dress"], [(1, 0, [body(0.0)], 0)])
    (image,) = read(tmp_path / "set.json")[1]
    assert image.picture.file == tmp_path / "images" / stored


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".jfif", ".avif"])
def test_images_of_other_types_are_found(suffix: str, tmp_path: Path) -> None:
    """That Label Studio does not accept them is said by the import."""
    save(tmp_path / "x.jpg", 1).rename(tmp_path / f"x{suffix}")
    write_coco(tmp_path / "set" / "set.json", [f"x{suffix}"], ["dress"], [])
    assert read(tmp_path / "set" / "set.json", images=tmp_path)[1][0].picture.is_found
    assert [image.picture.name for image in read(tmp_path, "photographs")[1]] == [f"x{suffix}"]
    assert len(read(tmp_path / f"x{suffix}")[1]) == 1


def test_of_two_types_the_one_that_label_studio_accepts_is_taken(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks")
    for suffix in (".jpg", ".tif"):
        save(tmp_path / "images" / f"x{suffix}", 1, SIZE)
    (image,) = read(tmp_path)[1]
    assert image.picture.name == "images/x.jpg"
