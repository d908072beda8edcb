"""DeepFashion2 (Ge et al. 2019): one JSON file for each image, with its items and the polygons of each item's parts.

`annos/000001.json` belongs to `image/000001.jpg`; https://github.com/switchablenorms/DeepFashion2
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.errors import DatasetError
from backend.label_studio.uploads import UPLOADABLE
from training.data_in.annotated_image import AnnotatedImage, Garment, Source, outline_of
from training.data_in.picture_folder import PictureFolder, SetPicture
from training.data_in.text_files import read_json

NOT_KEPT = "item's landmarks, style, scale, occlusion, zoom and viewpoint, which regions cannot store"
UNREADABLE = "item without a readable outline"
DAMAGED = "file that is not a JSON file of items"


def read_deepfashion2(files: Sequence[Path], pictures: PictureFolder) -> Source:
    """Opens the images of DeepFashion2's annotation files."""
    return Source("DeepFashion2", pictures.root, len(files), _images(files, pictures))


def _images(files: Sequence[Path], pictures: PictureFolder) -> Iterator[AnnotatedImage]:
    for file in files:
        picture = _picture(file, pictures)
        try:
            facts = read_json(file)
            items = [(int(key[4:]), dict(facts[key])) for key in facts if key.startswith("item") and key[4:].isdigit()]
        except (DatasetError, AttributeError, TypeError, ValueError):
            yield AnnotatedImage(picture, notes=(DAMAGED,))
            continue
        garments, notes = [], []
        for _, item in sorted(items, key=lambda pair: pair[0]):
            outlines = [outline for part in _parts(item) if (outline := outline_of(part)) is not None]
            if outlines:
                garments.append(Garment(str(item.get("category_name") or item.get("category_id")), tuple(outlines)))
                notes.append(NOT_KEPT)
            else:
                notes.append(UNREADABLE)
        yield AnnotatedImage(picture, tuple(garments), notes=tuple(notes))


def _parts(item: Mapping[str, Any]) -> Sequence[Any]:
    parts = item.get("segmentation")
    return parts if isinstance(parts, list) else []


def _picture(file: Path, pictures: PictureFolder) -> SetPicture:
    """Finds the file's image, first in the `image` beside its `annos`: training and validation both have a 000001."""
    for suffix in sorted(UPLOADABLE):
        beside = file.parent.parent / "image" / f"{file.stem}{suffix}"
        if beside.is_file():
            return pictures.picture(beside)
    return pictures.find_by_stem(file.stem)
