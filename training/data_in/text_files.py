"""Reads the text, JSON and YAML files of data sets: UTF-8, with or without a mark, or UTF-16 with its mark."""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import ijson
import yaml

from backend.errors import DatasetError, first_line
from training.data_in.nesting import ShallowStream

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SAVE_AS_UTF8 = "Save the file as UTF-8, with an editor or `iconv -f ITS-ENCODING -t UTF-8`."
MAX_PART_BYTES = 1 << 20
NO_NUMBER = re.compile(rb"[\[:,]\s*(NaN|-?Infinity)\b")


def read_text(file: Path) -> str:
    """Returns the text of a file, without a byte order mark.

    Raises:
        DatasetError: the file cannot be read, or its encoding is neither of the two; the message names the line.
    """
    try:
        content = file.read_bytes()
    except OSError as e:
        raise DatasetError(f"{file} cannot be read: {e.strerror}.") from e
    encoding = "utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig"
    try:
        text = content.decode(encoding)
        # Text never holds this character: UTF-16 without its mark, or no text at all.
        place = text.find("\0")
        line = text.count("\n", 0, place) + 1
    except UnicodeDecodeError as e:
        place, line = e.start, content.count(b"\n", 0, e.start) + 1
    if place >= 0:
        raise DatasetError(f"{file}, line {line}, is not UTF-8 text. {SAVE_AS_UTF8}")
    return text


@contextmanager
def open_text(file: Path) -> Iterator[IO[str]]:
    """Opens a file that may be too large to read as a whole, such as a table.

    Raises:
        DatasetError: as `read_text`, also while the block reads.
    """
    try:
        with file.open("rb") as stream:
            encoding = "utf-16" if stream.read(2) in UTF16_MARKS else "utf-8-sig"
        with file.open(encoding=encoding, newline="") as text:
            yield text
    except OSError as e:
        raise DatasetError(f"{file} cannot be read: {e.strerror}.") from e
    except UnicodeDecodeError as e:
        raise DatasetError(f"{file}, {_reason(file, is_json=False) or SAVE_AS_UTF8}") from e


def read_json(file: Path) -> Any:
    """Returns the content of a small JSON file.

    Raises:
        DatasetError: the file cannot be read, is not JSON, or is nested too deep.
    """
    text = read_text(file)
    try:
        # Reading it so checks how deep it is nested.
        ShallowStream(io.BytesIO(text.encode()), file).read()
        return json.loads(text)
    except ValueError as e:
        raise DatasetError(f"{file} is not JSON: {first_line(e)}") from e


def read_yaml(file: Path) -> Any:
    """Returns the content of a small YAML file; None where it holds nothing.

    Raises:
        DatasetError: the file cannot be read, or is not YAML.
    """
    text = read_text(file)
    try:
        return yaml.safe_load(text)
    except RecursionError as e:
        raise DatasetError(f"{file} cannot be read: its lists and tables are nested too deep.") from e
    except (yaml.YAMLError, ValueError) as e:
        # A date such as 2024-13-45 is a `ValueError`.
        raise DatasetError(f"{file} is not YAML: {first_line(e)}") from e


def json_items(file: Path, path: str) -> Iterator[Any]:
    """Yields what lies under a path (as ijson spells it) of a JSON file, which may be large: it is streamed.

    Raises:
        DatasetError: the file cannot be read, is not whole JSON, or is nested too deep.
    """
    with _json_stream(file) as stream:
        yield from ijson.items(stream, path, use_float=True)


def json_events(file: Path) -> Iterator[tuple[str, str, Any]]:
    """Yields ijson's events `(path, event, value)` of a JSON file, which may be large: it is streamed.

    Raises:
        DatasetError: as `json_items`.
    """
    with _json_stream(file) as stream:
        yield from ijson.parse(stream, use_float=True)


@contextmanager
def _json_stream(file: Path) -> Iterator[ShallowStream]:
    """Yields the file as UTF-8 without a mark, and turns errors of the block into a `DatasetError`."""
    try:
        with file.open("rb") as stream:
            first = stream.read(len(codecs.BOM_UTF8))
            stream.seek(len(codecs.BOM_UTF8) if first == codecs.BOM_UTF8 else 0)
            # UTF-16 is rare enough to be held in memory.
            utf16 = first.startswith(UTF16_MARKS)
            yield ShallowStream(io.BytesIO(read_text(file).encode()) if utf16 else stream, file)
    except OSError as e:
        raise DatasetError(f"{file} cannot be read: {e.strerror}.") from e
    except ijson.JSONError as e:
        raise DatasetError(f"{file} is not complete JSON: {_reason(file, is_json=True) or first_line(e)}") from e


def _reason(file: Path, *, is_json: bool) -> str:
    """Returns what a person must change in a file that cannot be read, where that is known; else nothing."""
    decode, line = codecs.getincrementaldecoder("utf-8")().decode, 1
    with file.open("rb") as stream:
        # A file may be one long line.
        for part in iter(partial(stream.readline, MAX_PART_BYTES), b""):
            if is_json and (found := NO_NUMBER.search(part)):
                return f"line {line} holds {found[1].decode()}, which is no number in JSON. Write null instead."
            try:
                decode(part)
            except UnicodeDecodeError:
                return f"line {line} is not UTF-8 text. {SAVE_AS_UTF8}"
            line += part.endswith(b"\n")
    return ""
