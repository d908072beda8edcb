"""YOLO segmentation: a text file an image, a line a garment: its class, then one outline as shares of the size.

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
UNREADABLE = "line that is no class and outline"
# A class and a box: five numbers.
BOX_NUMBERS = 4


def read_yolo(images: Sequence[Path], pictures: PictureFolder, names: Mapping[int, str]) -> Source:
    """The images, with what is in the `labels` beside `images`; those without such a file show nothing."""
    return Source(pictures.root.name, pictures.root, len(images), _images(images, pictures, names))


def yolo_images(folder: Path) -> list[Path]:
    """The images that lie in or below a folder `images` beside a folder `labels`; in the order of their paths."""
    found = []
    for images in sorted(path for path in [folder, *folder.rglob("images")] if path.name == "images" and path.is_dir()):
        if images.with_name("labels").is_dir():
            found += [file for file in sorted(images.rglob("*")) if is_picture(file) and file.is_file()]
    return found


def yolo_names(file: Path) -> Mapping[int, str]:
    """The names in a `data.yaml`, a list or by number.

    Raises:
        DatasetError: it is no such file.
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
        # Said by whoever brings the image in.
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
    """The last `images` of the path becomes `labels`."""
    parts = list(image.parts)
    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")
