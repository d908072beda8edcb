"""Recognises the format of a path, and opens the data set."""

from __future__ import annotations

import glob
import os
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
class ReadOptions:
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
    image_key: str = "$image"


def open_set(paths: Sequence[str], set_format: SetFormat | None, options: ReadOptions) -> tuple[SetFormat, Source]:
    """Opens a path, and returns its format and the set; several paths or matches of a pattern are photographs.

    Raises:
        DatasetError: nothing is there, or its format is unknown.
    """
    resolved = _resolve_paths(paths)
    set_format = set_format or _detect_format(resolved)
    if set_format == "photographs":
        return set_format, _photographs(resolved, options)
    if len(resolved) > 1:
        raise DatasetError(f"Give one path, not {len(resolved)}. Only photographs may have several.")
    return set_format, _open(resolved[0], set_format, options)


def _resolve_paths(paths: Sequence[str]) -> list[Path]:
    resolved: list[Path] = []
    for argument in paths:
        path = Path(argument).expanduser()
        matching = [path] if path.exists() else [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
        if not matching:
            raise DatasetError(f"There is no file or folder {argument}.")
        resolved += matching
    return resolved


def _detect_format(paths: Sequence[Path]) -> SetFormat:
    path = paths[0]
    if len(paths) > 1 or (path.is_file() and is_picture(path)):
        return "photographs"
    if path.suffix == ".parquet" or (path.is_dir() and _files(path, "*.parquet")):
        return "parquet"
    if path.suffix == ".csv":
        return "imaterialist"
    if path.suffix in (".yaml", ".yml"):
        return "yolo"
    if path.suffix == ".json":
        return _detect_json_format(path)
    if not path.is_dir():
        raise DatasetError(f"The format of {path} cannot be told from its name. Name it with --format.")
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
    raise DatasetError(
        f"{path} contains neither images nor a data set in a known format. Name the format with --format."
    )


def _detect_json_format(path: Path) -> SetFormat:
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
        raise DatasetError(f"{path} cannot be read as JSON: {e}") from e
    raise DatasetError(f"{path} is neither COCO, DeepFashion2 nor a Label Studio export.")


def _open(path: Path, set_format: SetFormat, options: ReadOptions) -> Source:
    folder = path if path.is_dir() else path.parent
    match set_format:
        case "coco":
            file = _only_coco(path)
            return read_coco(file, _pictures(file.parent, options), crowds=options.crowds)
        case "imaterialist":
            return read_imaterialist(path, _pictures(folder, options))
        case "label-studio":
            return read_label_studio(path, _pictures(folder, options), image_key=options.image_key)
        case "deepfashion2":
            files = [path] if path.is_file() else _annos(path)
            return read_deepfashion2(files, _pictures(folder, options))
        case "parquet":
            files = [path] if path.is_file() else _files(path, "*.parquet")
            return read_parquet(files, class_names(options.classes, [folder]))
        case "yolo":
            listed = [path] if path.is_file() else _files(folder, "data.yaml")[:1]
            names = yolo_names(listed[0]) if listed and not options.classes else class_names(options.classes, [folder])
            return read_yolo(yolo_images(folder), _pictures(folder, options), names)
        case "masks":
            names = class_names(options.classes, [folder, folder.parent])
            return read_index_masks(_masks(folder), _pictures(folder, options), names)
        case _:
            raise ValueError(f"'{set_format}' is no format of a set.")


def _photographs(paths: Sequence[Path], options: ReadOptions) -> Source:
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) == 1:
        return read_photographs(pictures_below(folders[0]), PictureFolder(folders[0]))
    files = [file for path in paths for file in (pictures_below(path) if path.is_dir() else [path])]
    unsupported = [str(file) for file in files if not is_picture(file)]
    if unsupported:
        raise DatasetError(f"{unsupported[0]} is not an image that Label Studio accepts (JPEG, PNG, WebP, BMP).")
    root = options.images or Path(os.path.commonpath([file.parent.absolute() for file in files]))
    return read_photographs(files, PictureFolder(root))


def _pictures(folder: Path, options: ReadOptions) -> PictureFolder:
    beside = folder.parent if folder.name.lower() in ANNOTATION_FOLDERS else folder
    return PictureFolder(options.images or beside)


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
        return _detect_json_format(file) == "coco"
    except DatasetError:
        return False


def _only_coco(path: Path) -> Path:
    if path.is_file():
        return path
    files = _coco_files(path)
    if len(files) != 1:
        names = ", ".join(file.name for file in files)
        raise DatasetError(
            f"{path} contains {len(files)} COCO files ({names}). Give the path of one."
            if files
            else f"{path} contains no COCO file."
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
