"""Recognises files of annotations by their content, so that none is taken for a photograph or passed over silently."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from backend.errors import DatasetError
from training.data_in.formats.index_masks import looks_like_mask
from training.data_in.picture_folder import is_mask_folder, is_picture
from training.data_in.text_files import json_events, json_items, read_text

JsonKind = Literal[
    "coco", "deepfashion2", "label-studio", "labelme", "COCO results", "JSON-MIN", "CreateML", "VIA", "other"
]
# What is recognised, but lacks something that an import needs.
UNREADABLE_KINDS: Mapping[JsonKind, str] = {
    "COCO results": "holds COCO results, which name images and classes by numbers alone. Give the set's own COCO file",
    "JSON-MIN": "is Label Studio's JSON-MIN export, which lacks parts of the regions. Export the project as JSON",
    "CreateML": "is in the format of CreateML, which has boxes and no outlines",
    "VIA": "is of the VGG Image Annotator. Export the annotations there in COCO's format",
}
# Of its projects, and of what it exports as JSON.
VIA_KEYS = ("_via_settings", "shape_attributes")
DEEPFASHION2_KEY = re.compile(r"item\d+")
# Files of these types that are named like a photograph belong to it.
SIDECARS = frozenset({".json", ".jsonl", ".txt", ".xml", ".csv", ".yaml", ".yml", ".mat", ".npy", ".npz", ".pkl"})
MASK_ENDING = re.compile(r"[-_. ](mask|masks|seg|segmentation|label|labels|matte|gt)$", re.IGNORECASE)
TABLE_WORDS = frozenset({"label", "class", "classid", "class_name", "xmin", "encodedpixels", "region_shape_attributes"})


def json_kind(file: Path) -> JsonKind:
    """Recognises the format of a JSON file by its first keys.

    Raises:
        DatasetError: the file cannot be read, or is not whole JSON.
    """
    keys: set[str] = set()
    for path, event, value in json_events(file):
        if event == "map_key" and value in VIA_KEYS:
            return "VIA"
        if path == "" and event == "start_array":
            return _kind_of_list(next(json_items(file, "item"), None))
        if path == "" and event == "map_key":
            keys.add(value)
            if value in ("images", "categories"):
                return "coco"
            if value in ("shapes", "imagePath"):
                return "labelme"
            if DEEPFASHION2_KEY.fullmatch(value):
                return "deepfashion2"
            if "data" in keys and keys & {"annotations", "predictions", "drafts", "id"}:
                return "label-studio"
    return "coco" if "annotations" in keys else "other"


def _kind_of_list(first: Any) -> JsonKind:
    if not isinstance(first, dict):
        return "other"
    if "data" in first:
        return "label-studio"
    if "image_id" in first and "category_id" in first:
        return "COCO results"
    if "image" in first and "annotations" in first:
        return "CreateML"
    return "JSON-MIN" if first.keys() & {"annotator", "annotation_id", "lead_time"} else "other"


def refuse_unreadable(file: Path) -> None:
    """Raises `DatasetError`, with the reason, if a JSON file is in a format that is recognised but cannot be read."""
    reason = UNREADABLE_KINDS.get(json_kind(file))
    if reason is not None:
        raise DatasetError(f"{file} {reason}.")


def annotation_files(folder: Path) -> list[Path]:
    """Lists the files in a folder and below it that look like annotations of its photographs, in path order."""
    named = [Path(root, name) for root, _, names in os.walk(folder) for name in names if not name.startswith(".")]
    files = [file for file in named if file.is_file()]
    pictures = [file for file in files if is_picture(file)]
    in_mask_folders = {file for file in pictures if is_mask_folder(file.parent.name)}
    photographs = {file.stem for file in pictures if file not in in_mask_folders}
    masks = {file for file in in_mask_folders if MASK_ENDING.sub("", file.stem) in photographs}
    stems = {file.stem for file in pictures}
    return sorted(file for file in files if file in masks or _is_annotation(file, stems))


def _is_annotation(file: Path, photographs: set[str]) -> bool:
    if is_picture(file):
        photograph = MASK_ENDING.sub("", file.stem)
        return (photograph != file.stem and photograph in photographs) or looks_like_mask(file)
    kind = file.suffix.lower()
    # Some tools keep the photograph's extension: `a.jpg.json`.
    if kind in SIDECARS and {file.stem, Path(file.stem).stem} & photographs:
        return True
    try:
        if kind == ".json":
            return json_kind(file) != "other"
        if kind in (".csv", ".tsv"):
            return bool(TABLE_WORDS & set(re.split(r"[,;\t\s\"]+", read_text(file).partition("\n")[0].casefold())))
        return kind == ".xml" and "<annotation" in read_text(file)
    except DatasetError:
        # Damaged files are named as well.
        return True


def in_words(files: Sequence[Path], folder: Path) -> str:
    """Names the first of some files, by their paths below a folder, and counts the others."""
    names = ", ".join(file.relative_to(folder).as_posix() for file in files[:3])
    return names + (f" and {len(files) - 3} more" if len(files) > 3 else "")
