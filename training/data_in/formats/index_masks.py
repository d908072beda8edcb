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
from training.data_in.text_files import read_text

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
BACKGROUND = frozenset(
    {"", "background", "bg", "null", "none", "nothing", "void", "unlabeled", "unlabelled", "no label"}
)
# Pascal VOC's number of pixels that nobody decided on, at the borders of objects.
UNDECIDED = 255
# More than any set of garments has, and less than the brightest pixel of a photograph.
MOST_CLASSES = 63
# Pillow's names.
INDEX_MODES = frozenset({"1", "L", "P", "I", "I;16"})
UNMASKED = "photograph without a mask of its name"
NO_MASK = "mask that is not an index image (it has colours, or cannot be read)"

Index = npt.NDArray[np.integer]


def class_names(names_source: str, folders: Sequence[Path]) -> Mapping[int, str]:
    """Returns the class names by number; empty where no file gives them.

    Args:
        names_source: `atr`, `lip`, or the path of a text file with one name per line, that of 0, the background, first.
        folders: searched for such a file, `labels.txt` or `classes.txt`, where `names_source` is empty.

    Raises:
        DatasetError: the file that `names_source` names does not exist, cannot be read, or its first line does not name
            the background, so that nobody can tell whether it names 0 or 1.
    """
    if names_source.lower() in KNOWN:
        return dict(enumerate(KNOWN[names_source.lower()]))
    files = (
        [Path(names_source)]
        if names_source
        else [folder / name for folder in folders for name in ("labels.txt", "classes.txt")]
    )
    file = next((file for file in files if file.is_file()), None)
    if file is not None:
        return _names_in(file)
    if names_source:
        raise DatasetError(f"The file of class names {names_source} does not exist. Only 'atr' and 'lip' need no file.")
    return {}


def _names_in(file: Path) -> Mapping[int, str]:
    lines = [line.strip() for line in read_text(file).splitlines()]
    # labelme's list begins with the class of pixels to ignore, which has no number.
    if lines and lines[0].strip("_").casefold() == "ignore":
        lines = lines[1:]
    if lines and lines[0].strip("_ ").casefold() not in BACKGROUND:
        raise DatasetError(
            f"Line 1 of {file} is '{lines[0]}', but names number 0 in the masks, the background. If '{lines[0]}' is "
            f"number 1, write a line 'background' above it; if it is number 0, write 'background' in its place."
        )
    return {number: line for number, line in enumerate(lines) if line}


def read_index_masks(masks: Sequence[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Source:
    """Opens the images that have the masks' names, apart from the extension; counts the others as left out."""
    unmasked = pictures.without({mask.stem for mask in masks})
    left_out = {(UNMASKED, pictures.picture(unmasked[0]).name): len(unmasked)} if masks and unmasked else {}
    return Source(pictures.root.name, pictures.root, len(masks), _images(masks, pictures, names), left_out)


def _images(masks: Sequence[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Iterator[AnnotatedImage]:
    for file in masks:
        index = read_index(file)
        if index is None:
            yield AnnotatedImage(pictures.find_by_stem(file.stem), notes=(NO_MASK,))
        else:
            garments = garments_in(index, names, source=str(file))
            yield AnnotatedImage(pictures.find_by_stem(file.stem), garments, _size_wh(index))


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


def holds_numbers(file: Path) -> bool:
    """Whether a PNG may be an index mask: it has a palette or one channel. Only its header is read."""
    try:
        with open_picture(file) as picture:
            return picture.mode in INDEX_MODES
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return False


def looks_like_mask(file: Path) -> bool:
    """Whether a file is a PNG of low numbers, where a grey photograph has all of them."""
    if file.suffix.lower() != ".png" or not holds_numbers(file):
        return False
    index = read_index(file)
    return index is not None and int(index.max()) <= MOST_CLASSES


def garments_in(index: Index, names: Mapping[int, str], *, source: str) -> tuple[Garment, ...]:
    """Returns a garment for each number but 0, with all pixels of that number; its regions are separated later.

    Raises:
        DatasetError: there are names, but not as many as `source`, a mask's name in messages, has numbers.
    """
    numbers = [int(number) for number in np.unique(index)]
    unnamed = [number for number in numbers if names and max(names) < number != UNDECIDED]
    if unnamed:
        raise DatasetError(
            f"The mask {source} holds the number {unnamed[0]}, but the class names end with {max(names)}, "
            f"'{names[max(names)]}'. Name the classes of this set with --classes; line 1 is number 0, the background."
        )
    return tuple(
        Garment(names.get(number, str(number)), mask=index == number, is_class_mask=True)
        for number in numbers
        if number
    )


def _size_wh(index: Index) -> tuple[int, int]:
    return index.shape[1], index.shape[0]
