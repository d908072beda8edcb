"""YOLO segmentation: one text file per image, one line per garment: class, then one outline as shares of the size.

https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.errors import DatasetError, ImageError
from training.data_in.annotated_image import AnnotatedImage, Garment, Source, id_text, outline_of
from training.data_in.picture_folder import PictureFolder, SetPicture, is_picture_of_any_kind, pictures_below
from training.data_in.text_files import read_text, read_yaml

BOX = "box without an outline"
UNREADABLE = "line that is not a class and an outline"
NOT_THERE = "part of the set that its YAML file names, and that is not there"
NO_IMAGE = "text file of garments without an image of its name"
ELSEWHERE = "image in a folder that has no text files of YOLO"
# A line of a class and a box has this many numbers after the class.
BOX_NUMBERS = 4
SPLITS = ("train", "val", "test")
# Text files with the names of classes, in the order of their numbers; the last two are Darknet's.
NAMES_FILES = ("classes.txt", "labels.txt", "obj.names", "_darknet.labels")


@dataclass(frozen=True)
class YoloFiles:
    """The files of a set.

    Attributes:
        images: the images, in order, each with its text file; None where it has none: it shows no garment.
        names: the class names by number.
        left_out: as in `Source`.
    """

    images: Mapping[Path, Path | None]
    names: Mapping[int, str]
    left_out: Mapping[tuple[str, str], int] = field(default_factory=dict)


def read_yolo(files: YoloFiles, pictures: PictureFolder) -> Source:
    """Opens the images of a set."""
    count = len(files.images)
    return Source(pictures.root.name, pictures.root, count, _images(files, pictures), files.left_out)


def find_yolo(folder: Path, *, listed: Path | None, images: Path | None, names: Mapping[int, str]) -> YoloFiles:
    """Finds the images of a set, and their text files.

    They are in folders `images` and `labels`, else side by side, else where a YAML file says. Images elsewhere belong
    to the text files of their path or name.

    Args:
        listed: the set's YAML file, if the user named it: then only its parts count.
        images: the folder of the images, if elsewhere.
        names: class names by number; where there are none, the YAML file's or those of a text file in the folder.

    Raises:
        DatasetError: the set has no images; its YAML file or a list of images cannot be read.
    """
    description = listed or _description(folder)
    facts = {} if description is None else _read_description(description)
    names = names or _names(facts.get("names"), description) or _names_in_text(folder)
    left_out: Counter[tuple[str, str]] = Counter()
    found: Mapping[Path, Path | None] = {}
    if images is not None:
        found = _texts_by_name(pictures_below(images), images, folder)
        _count_texts(folder, found, left_out)
    if listed is not None and not found:
        found = _listed(facts, listed, left_out)
    if not found and (below := yolo_images(folder) or images_beside_labels(folder)):
        found = {image: labels_of(image) for image in below}
        _count_texts(folder, found, left_out)
        _count(ELSEWHERE, [image for image in pictures_below(folder) if image not in found], folder, left_out)
    if not found and description is not None and listed is None:
        found = _listed(facts, description, left_out)
    if not any(found.values()):
        missing = ", ".join(example for _, example in list(left_out)[:3])
        raise DatasetError(
            f"{folder} holds no image with a text file of YOLO: neither in folders `images` and `labels`, nor side by "
            "side" + (f"; its YAML file names what is not there: {missing}" if missing else "") + ". Name the folder "
            "of the images with --images."
        )
    return YoloFiles(found, names, left_out)


def _count_texts(folder: Path, found: Mapping[Path, Path | None], left_out: Counter[tuple[str, str]]) -> None:
    """Counts the text files of garments whose image is not there."""
    known = {image.stem for image in found}
    others = [file for file in sorted(folder.rglob("*.txt")) if file.stem not in known and file.name not in NAMES_FILES]
    _count(NO_IMAGE, [file for file in others if _is_yolo_text(file)], folder, left_out)


def _count(reason: str, files: Sequence[Path], folder: Path, left_out: Counter[tuple[str, str]]) -> None:
    if files:
        left_out[reason, files[0].relative_to(folder).as_posix()] += len(files)


def yolo_images(folder: Path) -> list[Path]:
    """Lists the images in or below each `images` folder that has a `labels` folder beside it, in path order."""
    files = []
    for images in sorted(path for path in [folder, *folder.rglob("images")] if path.name == "images" and path.is_dir()):
        if images.with_name("labels").is_dir():
            files += pictures_below(images)
    return files


def images_beside_labels(folder: Path) -> list[Path]:
    """Lists all images in a folder and below it if text files of YOLO lie beside some of them; else none."""
    images = pictures_below(folder)
    beside = (text for image in images if (text := image.with_suffix(".txt")).is_file())
    return images if any(map(_is_yolo_text, beside)) else []


def labels_of(image: Path) -> Path | None:
    """Returns the text file of an image: where the last `images` in its path is `labels`, else beside it, else None."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    files = (Path(*parts).with_suffix(".txt"), image.with_suffix(".txt"))
    return next((file for file in files if file.is_file()), None)


def _is_yolo_text(file: Path) -> bool:
    try:
        first = read_text(file).strip().partition("\n")[0].split()
        return len([float(number) for number in first]) > BOX_NUMBERS
    except (DatasetError, ValueError):
        return False


def _description(folder: Path) -> Path | None:
    """Returns the YAML file that describes a set: `data.yaml`, else the only one with class names."""
    files = sorted(folder.glob("*.y*ml"))
    named = [file for file in files if file.stem == "data"] or [file for file in files if _describes(file)]
    below = sorted(folder.rglob("data.yaml"))[:1]
    return named[0] if len(named) == 1 else next(iter(below), None)


def _describes(file: Path) -> bool:
    try:
        return "names" in _read_description(file)
    except DatasetError:
        return False


def _read_description(file: Path) -> dict[str, Any]:
    facts = read_yaml(file) or {}
    if not isinstance(facts, dict):
        raise DatasetError(f"{file} does not describe a YOLO set: it has no `names` and no `train`.")
    return facts


def _names(names: object, file: Path | None) -> Mapping[int, str]:
    """Reads the class names, which are a list or a mapping from numbers.

    Raises:
        DatasetError: they are something else.
    """
    if names is None:
        return {}
    try:
        if not isinstance(names, dict | list):
            raise TypeError(f"`names: {names}` is no list; one class is `names: [{names}]`")
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(id_text(number)): str(name) for number, name in pairs}
    except (TypeError, ValueError) as e:
        raise DatasetError(f"{file} cannot be read as YOLO's list of classes: {e}.") from e


def _names_in_text(folder: Path) -> Mapping[int, str]:
    for file in (folder / name for name in NAMES_FILES):
        if file.is_file():
            return names_in(file)
    return {}


def names_in(file: Path) -> Mapping[int, str]:
    """Reads class names from a text file: line 1 names class 0.

    Raises:
        DatasetError: the file cannot be read, or is not UTF-8 text.
    """
    lines = [line.strip() for line in read_text(file).splitlines()]
    return {number: line for number, line in enumerate(lines) if line}


def _listed(facts: Mapping[str, Any], file: Path, left_out: Counter[tuple[str, str]]) -> Mapping[Path, Path | None]:
    """Finds the images of the parts that a YAML file names; counts parts that are not there."""
    root = file.parent / str(facts.get("path") or "")
    images: list[Path] = []
    for split in SPLITS:
        parts = facts.get(split) or []
        for part in parts if isinstance(parts, list) else [parts]:
            # Roboflow writes `../train/images` for a folder beside the file.
            places = [base / name for base in (root, file.parent) for name in (str(part), str(part).lstrip("./"))]
            # `Path.exists` raises for a name that is too long.
            place = next((place for place in places if os.path.exists(place)), None)  # noqa: PTH110
            if place is None:
                left_out[NOT_THERE, f"{split}: {part}"] += 1
            elif place.is_dir():
                images += pictures_below(place)
            else:
                images += _listed_in(place, root, left_out)
    return {image: labels_of(image) for image in images}


def _listed_in(file: Path, root: Path, left_out: Counter[tuple[str, str]]) -> Iterator[Path]:
    """Yields the images whose paths a text file lists, each relative to the file or to the set."""
    for line in map(str.strip, read_text(file).splitlines()):
        if not line:
            continue
        places = [Path(os.path.normpath(base / line)) for base in (file.parent, root)]
        place = next((place for place in places if is_picture_of_any_kind(place) and os.path.isfile(place)), None)  # noqa: PTH113
        if place is None:
            left_out[NOT_THERE, f"{file.name}: {line}"] += 1
        else:
            yield place


def _texts_by_name(images: Sequence[Path], root: Path, folder: Path) -> Mapping[Path, Path | None]:
    """Finds the text files of images that lie elsewhere: of the same path in a folder `labels`, else of the same name.

    Raises:
        DatasetError: several text files have an image's name.
    """
    texts: dict[str, list[Path]] = defaultdict(list)
    for text in sorted(folder.rglob("*.txt")):
        texts[text.stem].append(text)
    found: dict[Path, Path | None] = {}
    for image in images:
        relative = image.relative_to(root).with_suffix(".txt")
        named = texts.get(image.stem, [])
        same = [text for text in named if text.parts[-len(relative.parts) :] == relative.parts] or named
        if len(same) > 1:
            names = ", ".join(text.relative_to(folder).as_posix() for text in same)
            raise DatasetError(f"{image} has several text files in {folder}: {names}. Import its parts one by one.")
        found[image] = same[0] if same else None
    return found if any(found.values()) else {}


def _images(files: YoloFiles, pictures: PictureFolder) -> Iterator[AnnotatedImage]:
    for image, text in files.images.items():
        lines = read_text(text).splitlines() if text is not None else []
        yield _image(pictures.picture(image), [line.split() for line in lines if line.strip()], files.names)


def _image(picture: SetPicture, lines: Sequence[Sequence[str]], names: Mapping[int, str]) -> AnnotatedImage:
    try:
        size_wh = picture.size_wh() if lines else None
    except ImageError:
        # The importer and the evaluation set report an unreadable image.
        return AnnotatedImage(picture)
    garments, notes = [], []
    for first, *shares in lines:
        number, outline = id_text(first), outline_of(shares)
        if len(shares) == BOX_NUMBERS:
            notes.append(BOX)
        elif outline is None or not number.isdecimal() or size_wh is None:
            notes.append(UNREADABLE)
        else:
            garments.append(Garment(names.get(int(number), number), (outline * size_wh,)))
    return AnnotatedImage(picture, tuple(garments), size_wh, tuple(notes))
