"""Recognises the format of a path, and opens the data set."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ijson

from backend.errors import DatasetError
from training.data_in.annotated_image import Source
from training.data_in.formats.coco import read_coco
from training.data_in.formats.deepfashion2 import read_deepfashion2
from training.data_in.formats.imaterialist import read_imaterialist
from training.data_in.formats.index_masks import class_names, read_index_masks
from training.data_in.formats.label_studio_json import read_label_studio
from training.data_in.formats.parquet import read_parquet
from training.data_in.formats.photographs import read_photographs
from training.data_in.formats.yolo import read_yolo, yolo_images, yolo_names
from training.data_in.picture_folder import PictureFolder, is_mask_folder, is_picture, pictures_below

SetFormat = Literal["coco", "deepfashion2", "imaterialist", "masks", "parquet", "yolo", "label-studio", "photographs"]
# Endings of the names of folders with mirrored copies of ATR's and LIP's masks, beside the masks themselves.
MIRRORED = ("_rev", "_reversed")
# Folders that hold only annotations; the images lie beside them.
ANNOTATION_FOLDERS = ("annotations", "annos")


@dataclass(frozen=True)
class Opening:
    """How a set is read.

    Attributes:
        images: the folder of the images, where that is not the set's own.
        classes: `atr`, `lip` or a file: the class names behind the numbers in masks and YOLO files.
        crowds: whether COCO's crowds are imported as instances.
        image_key: the key of a task's image in the project's label config.
    """

    images: Path | None = None
    classes: str = ""
    crowds: bool = False
    image_key: str = "image"


def open_set(paths: Sequence[str], form: SetFormat | None, opening: Opening) -> tuple[SetFormat, Source]:
    """Opens a path, and returns its format and the set; several paths or matches of a pattern are photographs.

    Raises:
        DatasetError: nothing is there, or its format is unknown.
    """
    found = _found(paths)
    form = form or _form_of(found)
    if form == "photographs":
        return form, _photographs(found, opening)
    if len(found) > 1:
        raise DatasetError(f"Give one path: {len(found)} were given, which only photographs may be.")
    return form, _open(found[0], form, opening)


def _found(paths: Sequence[str]) -> list[Path]:
    found: list[Path] = []
    for said in paths:
        path = Path(said).expanduser()
        matching = [path] if path.exists() else [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
        if not matching:
            raise DatasetError(f"There is no file or folder {said}.")
        found += matching
    return found


def _form_of(found: Sequence[Path]) -> SetFormat:
    path = found[0]
    if len(found) > 1 or (path.is_file() and is_picture(path)):
        return "photographs"
    if path.suffix == ".parquet" or (path.is_dir() and _files(path, "*.parquet")):
        return "parquet"
    if path.suffix == ".csv":
        return "imaterialist"
    if path.suffix in (".yaml", ".yml"):
        return "yolo"
    if path.suffix == ".json":
        return _form_of_json(path)
    if not path.is_dir():
        raise DatasetError(f"{path} is in no format that is known by its name. Say which with --format.")
    if _annos(path):
        return "deepfashion2"
    if yolo_images(path):
        return "yolo"
    if _coco_files(path):
        return "coco"
    if _masks(path):
        return "masks"
    if pictures_below(path):
        return "photographs"
    raise DatasetError(f"{path} holds no images, and no set in a format that is known. Say which with --format.")


def _form_of_json(path: Path) -> SetFormat:
    """Recognises the format by the first keys of the file."""
    try:
        with path.open("rb") as stream:
            for prefix, event, value in ijson.parse(stream):
                if prefix == "" and event == "start_array":
                    return "label-studio"
                if prefix == "" and event == "map_key" and value in ("images", "annotations", "categories"):
                    return "coco"
                if prefix == "" and event == "map_key" and str(value).startswith("item"):
                    return "deepfashion2"
    except (ijson.JSONError, OSError) as e:
        raise DatasetError(f"{path} is no JSON file that can be read: {e}") from e
    raise DatasetError(f"{path} is neither COCO, nor DeepFashion2, nor an export of Label Studio.")


def _open(path: Path, form: SetFormat, opening: Opening) -> Source:
    folder = path if path.is_dir() else path.parent
    match form:
        case "coco":
            file = _only_coco(path)
            return read_coco(file, _pictures(file.parent, opening), crowds=opening.crowds)
        case "imaterialist":
            return read_imaterialist(path, _pictures(folder, opening))
        case "label-studio":
            return read_label_studio(path, _pictures(folder, opening), image_key=opening.image_key)
        case "deepfashion2":
            files = [path] if path.is_file() else _annos(path)
            return read_deepfashion2(files, _pictures(folder, opening))
        case "parquet":
            files = [path] if path.is_file() else _files(path, "*.parquet")
            return read_parquet(files, class_names(opening.classes, [folder]))
        case "yolo":
            listed = [path] if path.is_file() else _files(folder, "data.yaml")[:1]
            names = yolo_names(listed[0]) if listed and not opening.classes else class_names(opening.classes, [folder])
            return read_yolo(yolo_images(folder), _pictures(folder, opening), names)
        case "masks":
            names = class_names(opening.classes, [folder, folder.parent])
            return read_index_masks(_masks(folder), _pictures(folder, opening), names)
        case _:
            raise ValueError(f"'{form}' is no format of a set.")


def _photographs(found: Sequence[Path], opening: Opening) -> Source:
    folders = [path for path in found if path.is_dir()]
    if folders and len(found) == 1:
        return read_photographs(pictures_below(folders[0]), PictureFolder(folders[0]))
    files = [file for path in found for file in (pictures_below(path) if path.is_dir() else [path])]
    others = [str(file) for file in files if not is_picture(file)]
    if others:
        raise DatasetError(f"{others[0]} is no image that Label Studio takes (JPEG, PNG, WebP, BMP).")
    root = opening.images or _common([file.parent for file in files])
    return read_photographs(files, PictureFolder(root))


def _common(folders: Sequence[Path]) -> Path:
    """Returns the deepest folder that each of the folders is or lies in."""
    first, *others = {folder.absolute(): None for folder in folders}
    shared = [first, *first.parents]
    return Path(
        *next(candidate for candidate in shared if all(other.is_relative_to(candidate) for other in others)).parts
    )


def _pictures(folder: Path, opening: Opening) -> PictureFolder:
    beside = folder.parent if folder.name.lower() in ANNOTATION_FOLDERS else folder
    return PictureFolder(opening.images or beside)


def _annos(folder: Path) -> list[Path]:
    """Lists DeepFashion2's files (`annos/000001.json`), in the folder itself or in the folders `annos` below it."""
    inside = (
        [folder]
        if folder.name == "annos"
        else sorted(subfolder for subfolder in folder.rglob("annos") if subfolder.is_dir())
    )
    return [file for subfolder in inside for file in sorted(subfolder.glob("*.json"))]


def _coco_files(folder: Path) -> list[Path]:
    """Lists the COCO files in the folder and in its `annotations`."""
    candidates = sorted([*folder.glob("*.json"), *(folder / "annotations").glob("*.json")])
    return [file for file in candidates if _is_coco(file)]


def _is_coco(file: Path) -> bool:
    try:
        return _form_of_json(file) == "coco"
    except DatasetError:
        return False


def _only_coco(path: Path) -> Path:
    if path.is_file():
        return path
    files = _coco_files(path)
    if len(files) != 1:
        names = ", ".join(file.name for file in files)
        raise DatasetError(
            f"{path} holds {len(files)} COCO files ({names}): name one." if files else f"{path} holds no COCO file."
        )
    return files[0]


def _masks(folder: Path) -> list[Path]:
    """Lists the PNGs in or below folders with a mask folder's name, `folder` included; leaves out mirrored copies."""
    files = [file for file in pictures_below(folder) if file.suffix.lower() == ".png"]
    return [
        file
        for file in files
        if not file.parent.name.lower().endswith(MIRRORED)
        and any(is_mask_folder(part) for part in (folder.name, *file.relative_to(folder).parts[:-1]))
    ]


def _files(folder: Path, pattern: str) -> list[Path]:
    """Lists the matching files in the folder itself, or, where there are none, in the folders below it."""
    return sorted(folder.glob(pattern)) or sorted(folder.rglob(pattern))
