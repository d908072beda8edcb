"""Clothing Co-Parsing's files: what is wrong with them is said by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from backend.errors import DatasetError
from tests.training.data_in.drawn import save
from training.data_in.formats.detect import ReadOptions, open_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "photos" / "0001.jpg", 1)
    (tmp_path / "annotations").mkdir()
    savemat(tmp_path / "label_list.mat", {"label_list": np.array([["null", "dress"]], dtype=object)})
    return tmp_path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"tags": np.zeros((2, 2))}, r"0001\.mat has no variable 'groundtruth'"),
        ({"groundtruth": np.full((90, 120), 7)}, r"0001\.mat holds the label 7, which label_list\.mat does not name"),
        ({"groundtruth": np.full((90, 120), 0.5)}, r"'groundtruth' in .*0001\.mat is not a table of label numbers"),
        ({}, r"0001\.mat has no variable"),
    ],
)
def test_damage_is_said_by_name(folder: Path, content: dict[str, Any], said: str) -> None:
    savemat(folder / "annotations" / "0001.mat", content)
    with pytest.raises(DatasetError, match=said):
        list(open_set([str(folder)], None, ReadOptions())[1].images)


def test_a_file_that_is_not_of_matlab_is_said_by_name(folder: Path) -> None:
    (folder / "annotations" / "0001.mat").write_bytes(b"half a file")
    with pytest.raises(DatasetError, match=r"0001\.mat cannot be read as a MATLAB file"):
        list(open_set([str(folder)], None, ReadOptions())[1].images)


def test_annotations_without_their_list_of_labels_are_asked_for(folder: Path) -> None:
    (folder / "label_list.mat").unlink()
    with pytest.raises(DatasetError, match=r"label_list\.mat is missing"):
        open_set([str(folder)], "ccp", ReadOptions())


def test_a_photograph_that_is_missing_keeps_its_place(folder: Path) -> None:
    savemat(folder / "annotations" / "0002.mat", {"groundtruth": np.ones((90, 120), np.uint8)})
    (image,) = open_set([str(folder)], None, ReadOptions())[1].images
    assert not image.picture.is_found and [garment.name for garment in image.garments] == ["dress"]
