"""Recognises the format of a path, and opens the data set."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backend.errors import DatasetError
from training.data_in.annotated_image import Source
from training.data_in.formats.annotation_files import (
    JsonKind,
    annotation_files,
    in_words,
    json_kind,
    refuse_unreadable,
)
from training.data_in.formats.ccp import is_ccp, read_ccp
from training.data_in.formats.coco import read_coco
from training.data_in.formats.deepfashion2 import read_deepfashion2
from training.data_in.formats.imaterialist import read_imaterialist
from training.data_in.formats.index_masks import class_names, holds_numbers, read_index_masks
from training.data_in.formats.label_studio_json import read_label_studio
from training.data_in.formats.labelme import read_labelme
from training.data_in.formats.parquet import read_parquet
from training.data_in.formats.photographs import read_photographs
from training.data_in.formats.yolo import find_yolo, images_beside_labels, names_in, read_yolo, yolo_images
from training.data_in.picture_folder import PictureFolder, is_mask_folder, is_picture_of_any_kind, pictures_below

SetFormat = Literal[
    "ccp", "coco", "deepfashion2", "imaterialist", "label-studio", "labelme", "masks", "parquet", "photographs", "yolo"
]
# Formats whose garments have the number of a class, so that `--classes` may name them.
NUMBERED: tuple[SetFormat, ...] = ("masks", "parquet", "yolo")
EXPECTED: Mapping[SetFormat, str] = {
    "ccp": "MATLAB files in `annotations`",
    "coco": "images",
    "deepfashion2": "JSON files in folders `annos`",
    "imaterialist": "rows",
    "label-studio": "tasks",
    "labelme": "JSON files of labelme",
    "masks": "PNGs of numbers, in a folder that is called `masks`, or named like the photographs",
    "parquet": "rows",
    "photographs": "images (JPEG, PNG, WebP, BMP)",
    "yolo": "images",
}
# Endings of the names of folders beside the masks: with mirrored copies of them, as in ATR and LIP, and with the
# numbers of objects instead of classes, as in Pascal VOC.
NO_CLASSES = ("_rev", "_reversed", "segmentationobject")
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
    _check_options(set_format, options)
    if set_format == "photographs":
        source = _photographs(resolved, options)
    elif len(resolved) > 1:
        raise DatasetError(f"Give one path, not {len(resolved)}. Only photographs may have several.")
    else:
        source = _open(resolved[0], set_format, options)
    if not source.count:
        raise DatasetError(f"{resolved[0]} holds no {EXPECTED[set_format]}.")
    return set_format, source


def _check_options(set_format: SetFormat, options: ReadOptions) -> None:
    """Raises `DatasetError` for an option that would change nothing."""
    given = (("--classes", bool(options.classes), NUMBERED), ("--crowds", options.crowds, ("coco",)))
    for option, is_given, formats in given:
        if is_given and set_format not in formats:
            raise DatasetError(f"{option} is for {', '.join(formats)}. This set ({set_format}) does not need it.")
    if options.images is not None and set_format == "parquet":
        raise DatasetError("--images is not for parquet, which holds the images itself.")


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
    if len(paths) > 1 or (path.is_file() and is_picture_of_any_kind(path)):
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
    return _detect_folder(path)


def _detect_folder(folder: Path) -> SetFormat:
    if is_ccp(folder):
        return "ccp"
    if _annos(folder):
        return "deepfashion2"
    if yolo_images(folder):
        return "yolo"
    kinds = set(_json_files(folder).values())
    if "coco" in kinds:
        return "coco"
    if _masks(folder, None):
        return "masks"
    if "labelme" in kinds:
        return "labelme"
    if images_beside_labels(folder):
        return "yolo"
    if not pictures_below(folder):
        raise DatasetError(
            f"{folder} contains neither images nor a data set in a known format. Name the format with --format."
        )
    if unread := annotation_files(folder):
        raise DatasetError(
            f"{folder} holds photographs, and files that look like their annotations: {in_words(unread, folder)}. Name "
            "the format with --format, or give the path of the file that holds the annotations. To import the "
            "photographs alone: --format photographs."
        )
    return "photographs"


def _detect_json_format(path: Path) -> SetFormat:
    """Recognises the format by the first keys of the file."""
    refuse_unreadable(path)
    match json_kind(path):
        case "coco" | "deepfashion2" | "label-studio" | "labelme" as known:
            return known
        case _:
            raise DatasetError(f"{path} is neither COCO, DeepFashion2, labelme nor a Label Studio export.")


def annotated_format(folder: Path) -> str:
    """Returns what a folder holds besides photographs: a format's name, or a phrase; empty for photographs alone."""
    try:
        found = _detect_format([folder])
    except DatasetError:
        unread = annotation_files(folder)
        return f"files that look like annotations ({in_words(unread, folder)})" if unread else ""
    return "" if found == "photographs" else f"a data set ({found})"


def _open(path: Path, set_format: SetFormat, options: ReadOptions) -> Source:
    folder = path if path.is_dir() else path.parent
    match set_format:
        case "ccp":
            return read_ccp(folder, _pictures(folder, options))
        case "coco":
            return _open_coco(path, options)
        case "imaterialist":
            return read_imaterialist(path, _pictures(folder, options))
        case "label-studio":
            return read_label_studio(path, _pictures(folder, options), image_key=options.image_key)
        case "labelme":
            files = [path] if path.is_file() else _labelme_files(path)
            return read_labelme(path, files, _pictures(folder, options))
        case "deepfashion2":
            files = [path] if path.is_file() else _annos(path)
            return read_deepfashion2(files, _pictures(folder, options))
        case "parquet":
            files = [path] if path.is_file() else _files(path, "*.parquet")
            return read_parquet(files, class_names(options.classes, [folder]))
        case "yolo":
            listed = path if path.is_file() else None
            names = names_in(Path(options.classes)) if options.classes else {}
            found = find_yolo(folder, listed=listed, images=options.images, names=names)
            return read_yolo(found, _pictures(folder, options))
        case "masks":
            masks = _masks(folder, options.images)
            names = class_names(options.classes, [folder, folder.parent])
            return read_index_masks(masks, PictureFolder(options.images or _beside(folder), masks=masks), names)
        case _:
            raise ValueError(f"'{set_format}' is no format of a set.")


def _open_coco(path: Path, options: ReadOptions) -> Source:
    """Opens a COCO file, or those of a folder's parts (`train`, `valid`, `test`), each with its images, as Roboflow."""
    if path.is_file():
        return read_coco(path, _pictures(path.parent, options), crowds=options.crowds)
    files = [file for file, kind in _json_files(path).items() if kind == "coco"]
    folders = [file.parent for file in files]
    if not files:
        raise DatasetError(f"{path} contains no COCO file.")
    if len(files) == 1 and files[0].parent in (path, *(path / name for name in ANNOTATION_FOLDERS)):
        return read_coco(files[0], _pictures(files[0].parent, options), crowds=options.crowds)
    if (
        len(set(folders)) < len(files)
        or path in folders
        or any(folder.name in ANNOTATION_FOLDERS for folder in folders)
    ):
        raise DatasetError(f"{path} contains {len(files)} COCO files ({in_words(files, path)}). Give the path of one.")
    parts = [read_coco(file, _pictures(file.parent, options), crowds=options.crowds) for file in files]
    images = (
        # Several parts may have an image of the same name.
        replace(image, picture=replace(image.picture, name=f"{part.relative_to(path).as_posix()}/{image.picture.name}"))
        for part, source in zip(folders, parts, strict=True)
        for image in source.images
    )
    left_out = Counter[tuple[str, str]]()
    for source in parts:
        left_out.update(source.left_out)
    return Source(path.name, options.images or path, sum(source.count for source in parts), images, left_out)


def _photographs(paths: Sequence[Path], options: ReadOptions) -> Source:
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) == 1:
        return read_photographs(pictures_below(folders[0]), PictureFolder(folders[0]))
    files = [file for path in paths for file in (pictures_below(path) if path.is_dir() else [path])]
    # Images of other types are counted among what is left out.
    unsupported = [str(file) for file in files if not is_picture_of_any_kind(file)]
    if unsupported:
        raise DatasetError(f"{unsupported[0]} is not an image that Label Studio accepts (JPEG, PNG, WebP, BMP).")
    root = options.images or Path(os.path.commonpath([file.parent.absolute() for file in files]))
    return read_photographs(files, PictureFolder(root))


def _pictures(folder: Path, options: ReadOptions) -> PictureFolder:
    return PictureFolder(options.images or _beside(folder))


def _beside(folder: Path) -> Path:
    return folder.parent if folder.name.lower() in ANNOTATION_FOLDERS else folder


def _annos(folder: Path) -> list[Path]:
    """Lists DeepFashion2's files (`annos/000001.json`), in the folder itself or in the folders `annos` below it."""
    inside = (
        [folder]
        if folder.name == "annos"
        else sorted(subfolder for subfolder in folder.rglob("annos") if subfolder.is_dir())
    )
    return [file for subfolder in inside for file in sorted(subfolder.glob("*.json"))]


def _json_files(folder: Path) -> dict[Path, JsonKind]:
    """Recognises the JSON files in a folder and below it, in path order; damaged ones are `other`."""
    kinds: dict[Path, JsonKind] = {}
    for file in sorted(file for file in folder.rglob("*.json") if not file.name.startswith(".") and file.is_file()):
        try:
            kinds[file] = json_kind(file)
        except DatasetError:
            kinds[file] = "other"
    return kinds


def _labelme_files(folder: Path) -> list[Path]:
    """Lists labelme's files, and all JSON files named like an image: those are damaged, and their reader says so."""
    images = {image.with_suffix(".json") for image in pictures_below(folder)}
    return [file for file, kind in _json_files(folder).items() if kind == "labelme" or file in images]


def _masks(folder: Path, images: Path | None) -> list[Path]:
    """Lists the PNGs that are masks: by a folder's name, else by their numbers and a photograph of the same name.

    Mirrored copies, and numbers of objects, are left out. `folder` itself may have a mask folder's name.

    Args:
        images: the folder of the photographs, if elsewhere.
    """
    files = pictures_below(folder)
    drawn = [file for file in files if file.suffix.lower() == ".png"]
    named = [
        file
        for file in drawn
        if not file.parent.name.lower().endswith(NO_CLASSES)
        and any(is_mask_folder(part) for part in (folder.name, *file.relative_to(folder).parts[:-1]))
    ]
    if named:
        return named
    photographs = {file.stem for file in (files if images is None else pictures_below(images)) if file not in drawn}
    return [file for file in drawn if file.stem in photographs and holds_numbers(file)]


def _files(folder: Path, pattern: str) -> list[Path]:
    """Lists the matching files in the folder itself, or, where there are none, in the folders below it."""
    return sorted(folder.glob(pattern)) or sorted(folder.rglob(pattern))
