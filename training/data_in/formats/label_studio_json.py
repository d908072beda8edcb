"""Label Studio's own JSON export of a project: tasks with their annotations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from backend.domain import LabelledMask
from backend.errors import DatasetError
from backend.label_studio.data_keys import image_in
from backend.label_studio.uploads import image_name
from backend.regions.decode import decode
from backend.regions.polygons import Outline
from training.annotations.approvals import approved_annotations
from training.annotations.truth import parts_of_garments
from training.data_in.annotated_image import AnnotatedImage, Garment, Source
from training.data_in.picture_folder import PictureFolder, SetPicture
from training.data_in.text_files import json_events, json_items

PREDICTIONS = "task with predictions but no annotation"
RECTANGLE = "rectangle, which is not an outline"
UNREADABLE = "unreadable region"
OTHER_SIZE = "region with another image size than the first region"
OLDER = "older annotation of the same task"
IMAGE_PREFIXES = ("/data/", "http://", "https://", "s3://", "gs://", "azure-blob://", "data:image/")


def read_label_studio(file: Path, pictures: PictureFolder, *, image_key: str) -> Source:
    """Opens the tasks of an export, each with its starred annotation, or else its latest one.

    An image that lies in the folder, under its uploaded name or local path, is read there; others keep their address.

    Args:
        image_key: the image's key in the target project's label config; a task without it must have exactly one image.

    Raises:
        DatasetError: the file cannot be read, or is not a whole JSON export.
    """
    try:
        count = sum(1 for _ in _tasks(file))
    except (TypeError, ValueError) as e:
        raise DatasetError(f"{file} is not a complete JSON export of Label Studio: {e}") from e
    return Source(file.stem, pictures.root, count, _images(file, pictures, image_key))


def _tasks(file: Path) -> Iterator[dict[str, Any]]:
    """Yields the tasks of an export, or the only one of a file that holds one task."""
    _, event, _ = next(json_events(file))
    for task in json_items(file, "item" if event == "start_array" else ""):
        if not isinstance(task, dict):
            raise DatasetError(f"{file} is no JSON export of Label Studio: it does not list tasks.")
        annotations = task.get("annotations") or []
        if isinstance(annotations, list) and any(isinstance(one, int) for one in annotations):
            raise DatasetError(
                f"{file} holds the numbers of annotations in their place, as some answers of Label Studio's API do. "
                "Export the project as JSON."
            )
        if not _are_objects(annotations) or not all(_are_objects(one.get("result") or []) for one in annotations):
            raise DatasetError(
                f"{file} is no JSON export of Label Studio: a task's annotations are no lists of regions."
            )
        yield task


def _are_objects(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)


def _images(file: Path, pictures: PictureFolder, image_key: str) -> Iterator[AnnotatedImage]:
    for number, task in enumerate(_tasks(file), start=1):
        data = task.get("data")
        url = _url(data if isinstance(data, dict) else {}, image_key)
        if not url:
            keys = ", ".join(f"'{key}'" for key in (data if isinstance(data, dict) else task)) or "nothing"
            raise DatasetError(
                f"Task {number} of {file} has no image in `data` under the key '{image_key}', but {keys}. "
                "Export the project as JSON (not JSON-MIN), and let the label config name the key."
            )
        # Tasks that a program wrote for Label Studio to import have annotations without ids, or with ids of its own; in
        # an export they come in any order.
        annotations = task.get("annotations") or []
        if not all(isinstance(annotation.get("id"), int) for annotation in annotations):
            annotations = [{**annotation, "id": place} for place, annotation in enumerate(annotations)]
        approved = approved_annotations([{**task, "id": number, "annotations": annotations}], with_auto_accepted=True)
        submitted = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
        notes = [OLDER] * (len(submitted) - 1)
        if not submitted and task.get("predictions"):
            notes.append(PREDICTIONS)
        garments, size_wh = _garments(approved[0].result, notes) if approved else ((), None)
        yield AnnotatedImage(_picture(url, pictures), garments, size_wh, tuple(notes))


def _url(data: Mapping[str, Any], image_key: str) -> str:
    url = image_in(data, image_key)
    if isinstance(url, str):
        return url
    urls = [value for value in data.values() if isinstance(value, str) and value.startswith(IMAGE_PREFIXES)]
    return urls[0] if len(urls) == 1 else ""


def _picture(url: str, pictures: PictureFolder) -> SetPicture:
    name = image_name(url)
    picture = pictures.find_by_name(name)
    if not picture.is_found:
        picture = pictures.find_by_name(PurePosixPath(name).name)
    return picture if picture.is_found else SetPicture(name, url=url)


def _garments(
    result: Sequence[Mapping[str, Any]], notes: list[str]
) -> tuple[tuple[Garment, ...], tuple[int, int] | None]:
    regions, problems = decode([dict(region) for region in result])
    notes += [UNREADABLE] * len(problems)
    if not regions:
        return (), None
    shape = regions[0].mask.shape
    points = {
        str(region.get("id")): value["points"]
        for region in result
        if isinstance(value := region.get("value"), dict) and "points" in value
    }
    garments = []
    for parts in parts_of_garments(regions, result):
        if parts[0].kind == "rectangle":
            notes.append(RECTANGLE)
        elif parts[0].mask.shape != shape:
            notes.append(OTHER_SIZE)
        else:
            garments.append(_garment(parts, points))
    return tuple(garments), (shape[1], shape[0])


def _garment(parts: Sequence[LabelledMask], points: Mapping[str, Any]) -> Garment:
    height, width = parts[0].mask.shape
    outlines: list[Outline] = [
        np.array(points[str(part.region_id)], np.float64) * (width, height) / 100
        for part in parts
        if str(part.region_id) in points
    ]
    if len(outlines) == len(parts):
        return Garment(parts[0].label, tuple(outlines))
    return Garment(parts[0].label, mask=np.logical_or.reduce([part.mask for part in parts]))
