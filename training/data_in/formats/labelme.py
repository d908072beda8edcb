"""labelme: one JSON file beside each image, with polygons and masks; https://github.com/wkentaro/labelme

A file belongs to the image that it names in `imagePath`, as in labelme itself, whatever its own name. An image without
a file is imported without garments.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import UnidentifiedImageError

from backend.domain import Mask
from backend.errors import DatasetError
from backend.images.open_picture import open_picture
from backend.label_studio.uploads import UPLOADABLE
from backend.regions.decode import MAX_PIXELS
from training.data_in.annotated_image import AnnotatedImage, Garment, Source, outline_of
from training.data_in.picture_folder import PictureFolder, SetPicture, pictures_below
from training.data_in.text_files import read_json

UNREADABLE = "shape without a readable outline"
DAMAGED = "file that is not a JSON file of labelme"
OTHER_IMAGE = "image whose JSON file belongs to another image, by its imagePath"
TAKEN = "JSON file whose imagePath is an image that has a file of its own"


def read_labelme(path: Path, files: Sequence[Path], pictures: PictureFolder) -> Source:
    """Opens the images of labelme's files, and then, where `path` is a folder, those in it to which no file belongs."""
    below = pictures_below(path) if path.is_dir() else []
    own = {image.with_suffix(".json") for image in below}.intersection(files)
    count = len(files) + len(below) - len(own)
    return Source(pictures.root.name, pictures.root, count, _images(files, below, pictures))


def _images(files: Sequence[Path], below: Sequence[Path], pictures: PictureFolder) -> Iterator[AnnotatedImage]:
    named = set()
    known = frozenset(files)
    for file in files:
        try:
            facts = read_json(file)
            picture, size_wh = _picture(file, facts, pictures), _size(facts)
            garments, notes = _garments(facts["shapes"], size_wh)
        except (DatasetError, KeyError, TypeError, ValueError, AttributeError, OSError):
            picture, size_wh, garments, notes = _beside(file, pictures), None, [], [DAMAGED]
        own = file if picture.file is None else picture.file.with_suffix(".json")
        if own != file and own in known:
            # Such as a copy of another image's file, whose garments may be those of either.
            picture, size_wh, garments, notes = _beside(file, pictures), None, [], [TAKEN]
        named.add(picture.file)
        yield AnnotatedImage(picture, tuple(garments), size_wh, tuple(notes))
    for image in below:
        if image not in named:
            notes = [OTHER_IMAGE] if image.with_suffix(".json") in known else []
            yield AnnotatedImage(pictures.picture(image), notes=tuple(notes))


def _picture(file: Path, facts: Mapping[str, Any], pictures: PictureFolder) -> SetPicture:
    """Finds the image that the file names, else the one with the file's name, else the one that the file holds."""
    name = str(facts["imagePath"]).replace("\\", "/")
    # Spelled as the root is, which may hold `..`, and with it all other images of the set.
    below = os.path.relpath(file.parent / name, pictures.root)
    named = pictures.root / below
    # `Path.is_file` raises for a name that is too long.
    if ".." not in Path(below).parts and os.path.isfile(named):  # noqa: PTH113
        return pictures.picture(named)
    beside = _beside(file, pictures)
    if beside.is_found or not facts.get("imageData"):
        return beside
    suffix = Path(name).suffix
    try:
        content = base64.b64decode(str(facts["imageData"]), validate=True)
    except binascii.Error:
        return beside
    return SetPicture(file.relative_to(pictures.root).with_suffix(suffix).as_posix(), encoded=content)


def _beside(file: Path, pictures: PictureFolder) -> SetPicture:
    beside = (image for suffix in sorted(UPLOADABLE) if (image := file.with_suffix(suffix)).is_file())
    found = next(beside, None)
    return pictures.find_by_stem(file.stem) if found is None else pictures.picture(found)


def _size(facts: Mapping[str, Any]) -> tuple[int, int] | None:
    """Returns the size of the image; None where it is not given, as in files of old versions."""
    width, height = facts.get("imageWidth"), facts.get("imageHeight")
    return (
        (int(width), int(height))
        if width and height and min(width, height) >= 1 and width * height <= MAX_PIXELS
        else None
    )


def _garments(shapes: Sequence[Mapping[str, Any]], size_wh: tuple[int, int] | None) -> tuple[list[Garment], list[str]]:
    """Reads the shapes; those with one label and one group number are parts of one garment."""
    parts: dict[tuple[str, object], list[Garment]] = defaultdict(list)
    notes = []
    for number, shape in enumerate(shapes):
        kind, label = str(shape.get("shape_type") or "polygon"), str(shape["label"])
        group = shape.get("group_id")
        if kind not in ("polygon", "mask"):
            notes.append(f"shape that is no outline ({kind})")
            continue
        garment = _masked(label, shape, size_wh) if kind == "mask" else _outlined(label, shape)
        if garment is None:
            notes.append(UNREADABLE)
        else:
            parts[label, f"shape {number}" if group is None else group].append(garment)
    return [garment for garments in parts.values() for garment in _joined(garments, size_wh)], notes


def _outlined(label: str, shape: Mapping[str, Any]) -> Garment | None:
    outline = outline_of(shape.get("points"))
    return None if outline is None else Garment(label, (outline,))


def _masked(label: str, shape: Mapping[str, Any], size_wh: tuple[int, int] | None) -> Garment | None:
    """Reads a mask: a PNG of the part of the image that lies between two corners."""
    if size_wh is None:
        return None
    try:
        with open_picture(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
            part = np.asarray(picture).astype(bool)
        left, top = (round(float(side)) for side in shape["points"][0])
        mask: Mask = np.zeros(size_wh[::-1], bool)
        mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    except (KeyError, IndexError, OverflowError, TypeError, ValueError, OSError, SyntaxError, UnidentifiedImageError):
        return None
    return Garment(label, mask=mask)


def _joined(parts: Sequence[Garment], size_wh: tuple[int, int] | None) -> Sequence[Garment]:
    if all(part.outlines for part in parts):
        return [Garment(parts[0].name, tuple(outline for part in parts for outline in part.outlines))]
    if size_wh is None:
        return parts
    return [Garment(parts[0].name, mask=np.logical_or.reduce([part.to_mask(size_wh) for part in parts]))]
