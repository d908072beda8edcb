"""Index masks, as in ATR and LIP: each pixel holds the number of its class, 0 for the background."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import UnidentifiedImageError

from backend.errors import DatasetError
from backend.images.open_picture import open_picture
from training.data_in.annotated_image import AnnotatedImage, Garment, Source
from training.data_in.picture_folder import PictureFolder

# ATR: Liang et al. 2015, in the order of `mattmdjaga/human_parsing_dataset`. LIP: Gong et al. 2017.
ATR = (
    "Background", "Hat", "Hair", "Sunglasses", "Upper-clothes", "Skirt", "Pants", "Dress", "Belt", "Left-shoe",
    "Right-shoe", "Face", "Left-leg", "Right-leg", "Left-arm", "Right-arm", "Bag", "Scarf",
)  # fmt: skip
LIP = (
    "Background", "Hat", "Hair", "Glove", "Sunglasses", "Upper-clothes", "Dress", "Coat", "Socks", "Pants",
    "Jumpsuits", "Scarf", "Skirt", "Face", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe", "Right-shoe",
)  # fmt: skip
KNOWN = {"atr": ATR, "lip": LIP}
NO_MASK = "mask that is not an index image (it has colours, or cannot be read)"

Index = npt.NDArray[np.integer]


def class_names(names_source: str, folders: Sequence[Path]) -> Mapping[int, str]:
    """Returns the class names by number; empty where no file gives them.

    Args:
        names_source: `atr`, `lip`, or the path of a text file with one name per line, the name of 0 first.
        folders: searched for such a file, `labels.txt` or `classes.txt`, where `names_source` is empty.

    Raises:
        DatasetError: the file that `names_source` names does not exist.
    """
    if names_source.lower() in KNOWN:
        return dict(enumerate(KNOWN[names_source.lower()]))
    files = (
        [Path(names_source)]
        if names_source
        else [folder / name for folder in folders for name in ("labels.txt", "classes.txt")]
    )
    for file in files:
        if file.is_file():
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
            return {number: line for number, line in enumerate(lines) if line}
    if names_source:
        raise DatasetError(f"The file of class names {names_source} does not exist. Only 'atr' and 'lip' need no file.")
    return {}


def read_index_masks(masks: Sequence[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Source:
    """Opens the images that have the masks' names, apart from the extension."""
    return Source(pictures.root.name, pictures.root, len(masks), _images(masks, pictures, names))


def _images(masks: Sequence[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Iterator[AnnotatedImage]:
    for file in masks:
        index = read_index(file)
        if index is None:
            yield AnnotatedImage(pictures.find_by_stem(file.stem), notes=(NO_MASK,))
        else:
            yield AnnotatedImage(pictures.find_by_stem(file.stem), garments_in(index, names), _size_wh(index))


def read_index(source: Path | bytes) -> Index | None:
    """Returns the numbers `(H, W)` of a mask; None where it cannot be read, or its channels differ."""
    try:
        with open_picture(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            index = np.asarray(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None
    if index.ndim == 3:
        # A grey mask that was saved in colour has the same numbers in all channels.
        first = index[..., 0]
        if index.shape[2] < 3 or (index[..., 1:3] != first[..., None]).any():
            return None
        index = first
    return index.astype(np.int64) if index.ndim == 2 else None


def garments_in(index: Index, names: Mapping[int, str]) -> tuple[Garment, ...]:
    """Returns a garment for each number but 0, with all pixels of that number; its regions are separated later."""
    return tuple(
        Garment(names.get(int(number), str(number)), mask=index == number, is_class_mask=True)
        for number in np.unique(index)
        if number
    )


def _size_wh(index: Index) -> tuple[int, int]:
    return index.shape[1], index.shape[0]
