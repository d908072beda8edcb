"""JSON that is nested deep: refused before it takes the memory, and never mistaken for what a text holds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend.errors import DatasetError
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.nesting import MAX_DEPTH, ShallowStream
from training.data_in.text_files import json_items, read_json

TEXTS = ["[" * 500, '"' * 3 + "[" * 500, "\\" * 7, "\\" * 6 + '"' + "{" * 500, "]" * 500]


def followed(text: str, size: int) -> str:
    """The text, read in parts of so many bytes."""
    stream = ShallowStream(io.BytesIO(text.encode()), Path("set.json"))
    return b"".join(iter(lambda: stream.read(size), b"")).decode()


@pytest.mark.parametrize("size", [1, 2, 7, 1000, -1])
def test_brackets_in_texts_do_not_count(size: int) -> None:
    text = json.dumps([*TEXTS, {text: text for text in TEXTS}])
    assert followed(text, size) == text
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert followed(f"[{deepest[1:-1]}, {json.dumps(TEXTS)}]", size)
    with pytest.raises(DatasetError, match=r"set\.json .* nested deeper than 100"):
        followed(f"[{json.dumps(TEXTS)}, {deepest}]", size)


LISTS, TABLES = "[" * 100_000, '{"a":' * 100_000
OPENED: list[Callable[[Path], Any]] = [
    read_json,
    lambda file: list(json_items(file, "item")),
    lambda file: open_set([str(file)], None, ReadOptions()),
]


@pytest.mark.parametrize("text", [LISTS, TABLES], ids=["lists", "tables"])
@pytest.mark.parametrize("opened", OPENED, ids=["read_json", "json_items", "open_set"])
def test_deep_files_are_refused_with_a_sentence(opened: Callable[[Path], Any], text: str, tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    file.write_text(text)
    with pytest.raises(
        DatasetError, match=r"set\.json is no data set: its lists and tables are nested deeper than 100"
    ):
        opened(file)


def test_a_deep_shape_in_a_coco_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    facts = {"images": [{"id": 1, "file_name": "x.jpg"}], "annotations": [{"image_id": 1, "segmentation": "shape"}]}
    file.write_text(json.dumps(facts).replace('"shape"', "[" * 5000 + "]" * 5000))
    with pytest.raises(DatasetError, match="nested deeper"):
        open_set([str(file)], None, ReadOptions())
