"""Parquet, as Hugging Face stores ATR: one row per image, the columns `image` and `mask` hold the bytes of files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars
from PIL import UnidentifiedImageError
from polars.exceptions import PolarsError

from backend.errors import DatasetError
from backend.images.open_picture import open_picture
from training.data_in.annotated_image import AnnotatedImage, Source
from training.data_in.formats.index_masks import NO_MASK, garments_in, read_index
from training.data_in.picture_folder import SetPicture

# How many rows are in memory at a time.
BATCH_ROWS = 16
COLUMNS = ("image", "mask")
EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}


def read_parquet(files: Sequence[Path], names: Mapping[int, str]) -> Source:
    """Opens the rows of the files, and reads a few at a time; an image is named after its file and row.

    Raises:
        DatasetError: a file cannot be read as Parquet, or lacks one of the columns.
    """
    try:
        for file in files:
            missing = [name for name in COLUMNS if name not in polars.read_parquet_schema(file)]
            if missing:
                raise DatasetError(f"{file} has no column '{missing[0]}'.")
        count = sum(int(polars.scan_parquet(file).select(polars.len()).collect().item()) for file in files)
    except (PolarsError, OSError) as e:
        raise DatasetError(f"{file} cannot be read as Parquet: {e}") from e
    return Source(files[0].stem, None, count, _images(_named(files), names))


def _named(files: Sequence[Path]) -> Mapping[Path, str]:
    """Returns a unique name for each file: its own, else its path below the folder of all (`train/0000`)."""
    if len({file.stem for file in files}) == len(files):
        return {file: file.stem for file in files}
    folder = os.path.commonpath([file.parent for file in files])
    return {file: file.relative_to(folder).with_suffix("").as_posix() for file in files}


def _images(files: Mapping[Path, str], names: Mapping[int, str]) -> Iterator[AnnotatedImage]:
    for file, name in files.items():
        frame = polars.scan_parquet(file).select(COLUMNS)
        number = 0
        while len(rows := frame.slice(number, BATCH_ROWS).collect()):
            for image, mask in rows.iter_rows():
                yield _image(f"{name}_{number:06d}", _bytes(image), _bytes(mask), names)
                number += 1


def _image(name: str, image: bytes | None, mask: bytes | None, names: Mapping[int, str]) -> AnnotatedImage:
    picture = SetPicture(f"{name}{_extension(image)}", encoded=image)
    index = None if mask is None else read_index(mask)
    if index is None:
        return AnnotatedImage(picture, notes=(NO_MASK,))
    return AnnotatedImage(picture, garments_in(index, names, source=name), (index.shape[1], index.shape[0]))


def _bytes(cell: Any) -> bytes | None:
    """Returns the bytes in a cell, which is Hugging Face's `{"bytes": …, "path": …}` or plain bytes."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) and content else None


def _extension(encoded: bytes | None) -> str:
    try:
        with open_picture(io.BytesIO(encoded or b"")) as picture:
            return EXTENSIONS.get(picture.format or "", "")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return ""
