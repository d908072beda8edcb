"""Tasks as Label Studio's API lists them, and as programs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backend.errors import DatasetError
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.formats.detect import ReadOptions, open_set

SIZE = {"original_width": 100, "original_height": 100}


def region(label: str, **changed: Any) -> dict[str, Any]:
    """A triangle."""
    value = {"points": [[10, 10], [90, 10], [90, 90]], "polygonlabels": [label]}
    return {"id": label, "type": "polygonlabels", "value": value, **SIZE, **changed}


def read(folder: Path, *annotations: Any, **changed: Any) -> AnnotatedImage:
    """The image of a single task."""
    file = folder / "export.json"
    task = {"id": 1, "data": {"image": "/data/upload/9/0a1b2c3d-x.jpg"}, "annotations": annotations, **changed}
    file.write_text(json.dumps([task]))
    form, source = open_set([str(file)], None, ReadOptions())
    assert form == "label-studio"
    (image,) = source.images
    return image


@pytest.mark.parametrize("prediction", [7, [7], "7", {"result": None}, {}])
def test_a_prediction_may_be_a_number(prediction: Any, tmp_path: Path) -> None:
    image = read(tmp_path, {"id": 5, "result": [region("dress")], "prediction": prediction})
    assert [garment.name for garment in image.garments] == ["dress"]


def test_numbers_in_place_of_annotations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"export\.json holds the numbers of annotations .* Export the project as JSON"
    ):
        read(tmp_path, 4, 5)
    assert not read(tmp_path, predictions=[4, 5]).garments


@pytest.mark.parametrize("ids", [(None, None), ("b", "a"), (7, None), ("2", "10")])
def test_of_annotations_with_ids_of_another_kind_the_later_counts(ids: tuple[object, ...], tmp_path: Path) -> None:
    names = ("dress", "top")
    annotations = [{"id": one, "result": [region(name)]} for one, name in zip(ids, names, strict=True)]
    assert [garment.name for garment in read(tmp_path, *annotations).garments] == ["top"]


OTHERS: list[dict[str, Any]] = [
    {"id": "c", "type": "choices", "value": 5},
    {"id": "c", "type": "choices", "value": [1, 2]},
    {"id": "c", "type": "choices", "value": None},
    region("top", meta=5),
    region("top", meta=["note"]),
]


@pytest.mark.parametrize("other", OTHERS)
def test_values_of_another_kind_lose_no_garment(other: dict[str, Any], tmp_path: Path) -> None:
    image = read(tmp_path, {"id": 5, "result": [region("dress"), other]})
    assert "dress" in [garment.name for garment in image.garments]
