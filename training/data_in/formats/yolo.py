"""YOLO segmentation: one text file per image, one line per garment: class, then one outline as shares of the size.

https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from backend.errors import DatasetError, ImageError
from training.data_in.annotated_image import AnnotatedImage, Garment, Source, outline_of
from training.data_in.picture_folder import PictureFolder, SetPicture, is_picture

BOX = "box without an outline"
UNREADABLE = "line that is not a class and an outline"
# A line of a class and a box has this many numbers after the class.
BOX_NUMBERS = 4


def read_yolo(images: Sequence[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Source:
    """Opens the images, with the text files in the `labels` beside `images`; an image without one shows no garment."""
    return Source(pictures.root.name, pictures.root, len(images), _images(images, pictures, names))


def yolo_images(folder: Path) -> list[Path]:
    """Lists the images in or below each `images` folder that has a `labels` folder beside it, in path order."""
    files = []
    for images in sorted(path for path in [folder, *folder.rglob("images")] if path.name == "images" and path.is_dir()):
        if images.with_name("labels").is_dir():
            files += [file for file in sorted(images.rglob("*")) if is_picture(file) and file.is_file()]
    return files


def yolo_names(file: Path) -> Mapping[int, str]:
    """Reads the class names in a `data.yaml`, which are a list or a mapping from numbers.

    Raises:
        DatasetError: the file cannot be read as a list of classes.
    """
    try:
        names = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("names") or {}
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name) for number, name in pairs}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, TypeError, ValueError) as e:
        raise DatasetError(f"{file} cannot be read as YOLO's list of classes: {e}") from e


def _images(images: Sequence[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Iterator[AnnotatedImage]:
    for file in images:
        labels = _labels_of(file)
        picture = pictures.picture(file)
        lines = labels.read_text(encoding="utf-8").splitlines() if labels.is_file() else []
        yield _image(picture, [line.split() for line in lines if line.strip()], names)


def _image(picture: SetPicture, lines: Sequence[Sequence[str]], names: Mapping[int, str]) -> AnnotatedImage:
    try:
        size_wh = picture.size_wh() if lines else None
    except ImageError:
        # The importer and the evaluation set report an unreadable image.
        return AnnotatedImage(picture)
    garments, notes = [], []
    for number, *shares in lines:
        outline = outline_of(shares)
        if len(shares) == BOX_NUMBERS:
            notes.append(BOX)
        elif outline is None or not number.isdigit() or size_wh is None:
            notes.append(UNREADABLE)
        else:
            garments.append(Garment(names.get(int(number), number), (outline * size_wh,)))
    return AnnotatedImage(picture, tuple(garments), size_wh, tuple(notes))


def _labels_of(image: Path) -> Path:
    """Returns the text file of an image: the last `images` in its path becomes `labels`."""
    parts = list(image.parts)
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")
