"""iMaterialist's CSV table on Kaggle: one row per garment, run lengths down the columns, the first pixel numbered 1."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from backend.domain import Mask
from backend.errors import DatasetError
from backend.regions.decode import MAX_PIXELS
from training.data_in.annotated_image import AnnotatedImage, Garment, Source, id_text
from training.data_in.formats.coco import ATTRIBUTES, UNREADABLE
from training.data_in.picture_folder import PictureFolder
from training.data_in.rows_by_image import RowsByImage
from training.data_in.text_files import open_text, read_json

COLUMNS = ("ImageId", "EncodedPixels", "Height", "Width", "ClassId")
DESCRIPTIONS = "label_descriptions.json"


def read_imaterialist(file: Path, pictures: PictureFolder) -> Source:
    """Opens the images of a `train.csv`; `label_descriptions.json` beside it names the classes.

    Raises:
        DatasetError: the table or one of its rows lacks `ImageId`, `Height` or `Width`, or a file is lost or damaged.
    """
    names = _names(file.with_name(DESCRIPTIONS))
    rows = RowsByImage()
    # The run lengths of a large garment exceed Python's default limit.
    csv.field_size_limit(min(sys.maxsize, 1 << 30))
    try:
        with open_text(file) as stream:
            table = csv.DictReader(stream)
            for row in table:
                if None in row.values() or not _is_size(row["Width"], row["Height"]):
                    raise DatasetError(f"{file}, line {table.line_num}, is cut short, or has no width and height.")
                rows.add_image(row["ImageId"], {key: row[key] for key in ("ImageId", "Height", "Width")})
                rows.add_row(row["ImageId"], {key: row[key] for key in row if key in (*COLUMNS, "AttributesIds")})
    except (csv.Error, KeyError) as e:
        raise DatasetError(f"{file} is not an iMaterialist table ({', '.join(COLUMNS)}): {e}") from e
    return Source(file.stem, pictures.root, len(rows), _images(rows, names, pictures))


def _is_size(width: str, height: str) -> bool:
    try:
        return float(width) >= 1 and float(height) >= 1 and float(width) * float(height) <= MAX_PIXELS
    except ValueError:
        return False


def _names(file: Path) -> Mapping[str, str]:
    try:
        return {id_text(category["id"]): str(category["name"]) for category in read_json(file)["categories"]}
    except (KeyError, TypeError) as e:
        raise DatasetError(f"The class names cannot be read from {file}: {e}") from e


def _images(rows: RowsByImage, names: Mapping[str, str], pictures: PictureFolder) -> Iterator[AnnotatedImage]:
    for facts, garment_rows in rows:
        size_wh = int(float(facts["Width"])), int(float(facts["Height"]))
        garments, notes = [], []
        for row in garment_rows:
            # In 2019 the attributes followed the class, as in 6_1_3; since 2020 they have their own column.
            number, _, attributes = str(row["ClassId"]).partition("_")
            if attributes or row.get("AttributesIds"):
                notes.append(ATTRIBUTES)
            mask = _mask(str(row["EncodedPixels"]), size_wh)
            if mask is None:
                notes.append(UNREADABLE)
            else:
                number = id_text(number)
                garments.append(Garment(names.get(number, number), mask=mask))
        name = str(facts["ImageId"])
        yield AnnotatedImage(
            pictures.find_by_name(name if "." in name else f"{name}.jpg"), tuple(garments), size_wh, tuple(notes)
        )


def _mask(runs: str, size_wh: tuple[int, int]) -> Mask | None:
    width, height = size_wh
    try:
        start, length = np.array(runs.split(), np.int64).reshape(-1, 2).T
    except (ValueError, OverflowError):
        return None
    if not len(start) or (length < 0).any() or start.min() < 1 or (start - 1 + length).max() > width * height:
        return None
    flat = np.zeros(width * height + 1, np.int64)
    np.add.at(flat, start - 1, 1)
    np.add.at(flat, start - 1 + length, -1)
    return (np.cumsum(flat)[:-1] > 0).reshape(width, height).T
