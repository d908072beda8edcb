"""Text of data sets in the encodings that editors write, and what is said of others."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from backend.errors import DatasetError
from training.data_in.text_files import json_items, open_text, read_json, read_text, read_yaml

TEXT = "साड़ी\n襯衫\n"
READABLE = [
    ("utf-8", TEXT.encode()),
    ("utf-8 with its mark", codecs.BOM_UTF8 + TEXT.encode()),
    ("utf-16, little end first", codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le")),
    ("utf-16, big end first", codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be")),
]
# The first line of each is plain.
REFUSED = [
    ("cp950", "dress\n襯衫\n".encode("cp950"), 2),
    ("latin-1", "dress\nrobe évasée\n".encode("latin-1"), 2),
    ("utf-16 without its mark", "dress\n".encode("utf-16-le"), 1),
    ("utf-32", "dress\n".encode("utf-32"), 1),
]


@pytest.mark.parametrize("content", [case[1] for case in READABLE], ids=[case[0] for case in READABLE])
def test_text_is_read_without_its_mark(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes(content)
    assert read_text(file) == TEXT
    with open_text(file) as stream:
        assert stream.read() == TEXT


@pytest.mark.parametrize(("content", "line"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_other_encodings_are_refused_by_file_and_line(content: bytes, line: int, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"classes\.txt, line {line}, is not UTF-8 text\. Save the file as UTF-8"):
        read_text(file)


def test_a_table_in_another_encoding_is_not_taken_for_json(tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_bytes("class,NaN\nbéret,1\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="line 2 is not UTF-8 text"), open_text(file) as stream:
        stream.read()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_is_streamed_in_each_encoding(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    facts = {"images": [{"file_name": f"साड़ी {number}.jpg", "width": 1.5} for number in range(5000)]}
    file.write_bytes(json.dumps(facts, ensure_ascii=False).encode(encoding))
    assert list(json_items(file, "images.item")) == facts["images"]
    assert read_json(file) == facts


DAMAGED = [
    ("not a number", b'{"images": [\n{"id": NaN}]}', "line 2 holds NaN, which is no number in JSON"),
    ("infinity", b'{"images": [{"id":-Infinity}]}', "line 1 holds -Infinity"),
    ("cp950", '{"images": [\n\n"襯衫"]}'.encode("cp950"), "line 3 is not UTF-8 text"),
    ("half of it", b'{"images": [{"id": 1}', "premature EOF"),
]


@pytest.mark.parametrize(("content", "said"), [case[1:] for case in DAMAGED], ids=[case[0] for case in DAMAGED])
def test_damaged_json_is_refused_with_the_reason(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=rf"set\.json is not complete JSON: .*{said}") as refused:
        list(json_items(file, "images.item"))
    assert "\n" not in str(refused.value)


BAD_YAML = [
    ("brackets", "names: [a", "is not YAML"),
    ("depth", "names: " + "[" * 20_000, "nested too deep"),
    ("no day", "exported: 2024-13-45", "is not YAML: month must be in 1..12"),
]


@pytest.mark.parametrize(("text", "said"), [case[1:] for case in BAD_YAML], ids=[case[0] for case in BAD_YAML])
def test_damaged_yaml_is_refused_with_the_reason(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(text)
    with pytest.raises(DatasetError, match=rf"data\.yaml .*{said}"):
        read_yaml(file)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    for read in (read_text, read_json, lambda file: list(json_items(file, "item"))):
        with pytest.raises(DatasetError, match=r"none\.txt cannot be read: No such file"):
            read(tmp_path / "none.txt")
