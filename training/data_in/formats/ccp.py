"""Clothing Co-Parsing (Yang, Luo, Lin, CVPR 2014): photographs, and MATLAB files with the label of each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from backend.errors import DatasetError
from training.data_in.annotated_image import AnnotatedImage, Garment, Source
from training.data_in.picture_folder import PictureFolder

LABEL_LIST = "label_list.mat"
# As published, and as copies without the labels of whole images have it.
ANNOTATIONS = ("annotations/pixel-level", "annotations")
BACKGROUND = 0


def is_ccp(folder: Path) -> bool:
    """Whether a folder has the layout of the published set: a list of labels, and annotations."""
    return (folder / LABEL_LIST).is_file() and (folder / "annotations").is_dir()


def read_ccp(folder: Path, pictures: PictureFolder) -> Source:
    """Opens the photographs that have labels for their pixels; most of the published ones have none.

    All pixels of a label are one garment: one person wears most of what is in a picture, and shoes and socks are pairs.

    Raises:
        DatasetError: the list of labels is missing or damaged.
    """
    names = _label_names(folder / LABEL_LIST)
    files = next((found for part in ANNOTATIONS if (found := sorted((folder / part).glob("*.mat")))), [])
    return Source(folder.name, pictures.root, len(files), _images(files, pictures, names))


def _images(files: list[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Iterator[AnnotatedImage]:
    for file in files:
        labels = _read(file, "groundtruth")
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
            raise DatasetError(f"'groundtruth' in {file} is not a table of label numbers, one for each pixel.")
        numbers = [int(number) for number in np.unique(labels) if number != BACKGROUND]
        if unnamed := [number for number in numbers if number not in names]:
            raise DatasetError(f"{file} holds the label {unnamed[0]}, which {LABEL_LIST} does not name.")
        garments = tuple(Garment(names[number], mask=labels == number) for number in numbers)
        yield AnnotatedImage(pictures.find_by_stem(file.stem), garments, (labels.shape[1], labels.shape[0]))


def _label_names(file: Path) -> Mapping[int, str]:
    if not file.is_file():
        raise DatasetError(f"{file} is missing: it names the labels of this set.")
    return {number: str(np.squeeze(name)) for number, name in enumerate(_read(file, "label_list").ravel())}


def _read(file: Path, variable: str) -> Any:
    try:
        return loadmat(file, variable_names=(variable,))[variable]
    except KeyError as e:
        raise DatasetError(f"{file} has no variable '{variable}'.") from e
    # SciPy's readers of damaged files raise whatever goes wrong in them.
    except Exception as e:
        raise DatasetError(f"{file} cannot be read as a MATLAB file: {e}") from e
