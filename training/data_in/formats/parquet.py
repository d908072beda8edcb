"""Parquet with the columns `image` and `mask`, as Hugging Face keeps ATR: each the bytes of a file, a row an image."""

from __future__ import annotations

import io
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

# Rows in memory at a time.
AT_ONCE = 16
COLUMNS = ("image", "mask")
EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp"}


def read_parquet(files: Sequence[Path], names: Mapping[int, str]) -> Source:
    """The rows of the files, some at a time; an image is called by its file and row.

    Raises:
        DatasetError: a file is no parquet, or lacks one of the columns.
    """
    try:
        for file in files:
            lacking = [name for name in COLUMNS if name not in polars.read_parquet_schema(file)]
            if lacking:
                raise DatasetError(f"{file} has no column '{lacking[0]}'.")
        count = sum(int(polars.scan_parquet(file).select(polars.len()).collect().item()) for file in files)
    except (PolarsError, OSError) as e:
        raise DatasetError(f"{file} cannot be read as parquet: {e}") from e
    return Source(files[0].stem, None, count, _images(files, names))


def _images(files: Sequence[Path], names: Mapping[int, str]) -> Iterator[AnnotatedImage]:
    for file in files:
        frame = polars.scan_parquet(file).select(COLUMNS)
        number = 0
        while len(rows := frame.slice(number, AT_ONCE).collect()):
            for image, mask in rows.iter_rows():
                yield _image(f"{file.stem}_{number:06d}", _bytes(image), _bytes(mask), names)
                number += 1


def _image(name: str, image: bytes | None, mask: bytes | None, names: Mapping[int, str]) -> AnnotatedImage:
    picture = SetPicture(f"{name}{_extension(image)}", encoded=image)
    index = None if mask is None else read_index(mask)
    if index is None:
        return AnnotatedImage(picture, notes=(NO_MASK,))
    return AnnotatedImage(picture, garments_in(index, names), (index.shape[1], index.shape[0]))


def _bytes(cell: Any) -> bytes | None:
    """Of Hugging Face's `{"bytes": …, "path": …}`, or of a plain column of bytes."""
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    return found if isinstance(found, bytes) and found else None


def _extension(encoded: bytes | None) -> str:
    try:
        with open_picture(io.BytesIO(encoded or b"")) as picture:
            return EXTENSIONS.get(picture.format or "", "")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return ""
