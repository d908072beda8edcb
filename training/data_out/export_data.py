"""Selects a project's garments, and writes them in one of the formats."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from backend.connections import Connections
from backend.domain import Image
from backend.errors import DatasetError
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.payloads import Task
from backend.regions.decode import MAX_VALUE, shapes
from training.annotations.approvals import Approved, Rule, accepting_choices, approved_annotations, rule_of
from training.annotations.truth import current_label
from training.data_out.coco import write_coco
from training.data_out.cutouts import write_cutouts
from training.data_out.garment_images import garment_images
from training.data_out.index_masks import write_index_masks
from training.data_out.left_out import write_left_out
from training.dataset.build import build_dataset
from training.dataset.manifest import latest_manifest

ExportFormat = Literal["coco", "coco-polygons", "yolo", "masks", "cutouts"]
ApprovedBy = Literal["person", "model", "both"]
# Larger than any image: in an exported YOLO data set photographs keep their size.
FULL_SIZE_PX = 1 << 20


@dataclass(frozen=True)
class Selection:
    """Which garments are exported.

    Attributes:
        by: those approved by a `person`, those accepted by the `model` without a person, or `both`.
        labels: labels of the project; empty for all.
        min_score: the least score of a garment that has a score; garments that a person drew have none.
    """

    by: ApprovedBy = "person"
    labels: tuple[str, ...] = ()
    min_score: float = 0.0


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        count: number of images, or of cut-outs.
        left_out: lines for people on what it left out, empty where nothing; `left_out.txt` in the folder has all.
    """

    count: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What an export takes: the project's title, its label config with the wanted labels, and the annotations."""

    title: str
    config: LabelConfig
    approved: tuple[Approved, ...]


def export_data(
    connections: Connections,
    project_id: int,
    *,
    folder: Path,
    export_format: ExportFormat,
    selection: Selection,
    soft_edges: bool,
    track: Callable[[Sequence[Approved]], Iterable[Approved]],
) -> Exported:
    """Writes the chosen garments into a new or empty folder.

    Args:
        soft_edges: whether cut-outs fade at the edge.
        track: takes the annotations, yields them one at a time, and may show the progress.

    Raises:
        DatasetError: no annotation is chosen, a label is unknown, or the folder is not empty.
        LabelStudioError, LabelConfigError: Label Studio does not answer or refuses; its label config cannot be served.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} is not empty. Give a new or empty folder.")
    chosen = choose(connections, project_id, selection)
    approved, config = chosen.approved, chosen.config
    images = ImageStore(connections.settings, bearer=connections.label_studio.bearer)
    left_out: list[str] = []
    annotated_images = garment_images(track(approved), config, images, left_out)
    match export_format:
        case "yolo":
            count = _write_yolo(connections, project_id, approved, config, images, folder, left_out)
        case "coco" | "coco-polygons":
            outlines: Literal["rle", "polygons"] = "rle" if export_format == "coco" else "polygons"
            outlining = connections.settings.outlining
            count = write_coco(annotated_images, config.label_values, folder, outlines=outlines, outlining=outlining)
        case "masks":
            count = write_index_masks(annotated_images, config.label_values, folder, left_out)
        case "cutouts":
            count = len(write_cutouts(annotated_images, config.label_values, folder, soft_edges=soft_edges))
    return Exported(count, tuple(write_left_out(left_out, folder)))


def choose(connections: Connections, project_id: int, selection: Selection) -> Chosen:
    """Returns what an export takes.

    Raises:
        DatasetError: no annotation is chosen, or a label is unknown.
        LabelStudioError, LabelConfigError: Label Studio does not answer or refuses; its label config cannot be served.
    """
    project = connections.label_studio.project(project_id)
    config = parse_label_config(project.label_config)
    labels = _wanted_labels(config, selection.labels)
    rule = rule_of(connections.settings, accepting_choices(connections.settings, lambda: project.label_config))
    approved = _select(connections.label_studio.annotated_tasks(project_id), config, rule, selection, labels)
    config = replace(config, labels=tuple(label for label in config.labels if label.value in labels))
    if not approved:
        raise DatasetError(f"Project {project_id} has no annotation to export with these options.")
    return Chosen(project.title, config, tuple(approved))


def _wanted_labels(config: LabelConfig, labels: Collection[str]) -> Collection[str]:
    """Returns the labels to export: those asked for, by value or alias, or all of the config."""
    wanted = {config.label_of(label) for label in labels}
    unknown = sorted(wanted - set(config.label_values))
    if unknown:
        raise DatasetError(f"The project has no label {', '.join(unknown)}. It has: {', '.join(config.label_values)}.")
    return wanted or config.label_values


def _select(
    tasks: Sequence[dict[str, object]],
    config: LabelConfig,
    rule: Rule,
    selection: Selection,
    labels: Collection[str],
) -> list[Approved]:
    """Returns the chosen annotations, with the chosen regions.

    An image that shows none of the wanted labels stays, as an example without them. One all of whose regions of these
    labels have too low a score does not: such garments are in it.
    """
    approved = approved_annotations(tasks, rule=rule, with_auto_accepted=selection.by != "person")
    by_person = selection.by == "person"
    chosen = []
    for annotation in approved:
        if selection.by != "both" and annotation.by_person != by_person:
            continue
        wanted = _of_labels(annotation.result, config, labels)
        sure = [region for region in wanted if _score(region) >= selection.min_score]
        if shapes(sure) or not shapes(wanted):
            chosen.append(replace(annotation, result=sure))
    return chosen


def _score(region: Mapping[str, Any]) -> float:
    score = region.get("score")
    return float(score) if isinstance(score, int | float) and abs(score) < MAX_VALUE else 1.0


def _of_labels(result: Sequence[dict[str, Any]], config: LabelConfig, wanted: Collection[str]) -> list[dict[str, Any]]:
    """Returns the result without regions of other labels; those whose label the config has lost stay, to be named."""
    dropped = {
        region_id
        for region_id, shape in shapes(result).items()
        if shape.label and current_label(shape.label, config) not in (None, *wanted)
    }
    return [region for number, region in enumerate(result) if str(region.get("id", number)) not in dropped]


def _write_yolo(
    connections: Connections,
    project_id: int,
    approved: Sequence[Approved],
    config: LabelConfig,
    images: ImageStore,
    folder: Path,
    left_out: list[str],
) -> int:
    """Writes the YOLO data set; images keep the sides of the project's models. Returns the number of images."""

    def load(annotation: Approved) -> Image:
        return load_image(images, Task(id=annotation.task_id, data=annotation.data), config)

    cache = folder.with_name(f"{folder.name}.examples")
    try:
        dataset = build_dataset(
            approved,
            config,
            folder=folder,
            load=load,
            image_size_px=FULL_SIZE_PX,
            earlier=latest_manifest(connections.registry, project_id),
            split_by=connections.settings.split_by,
            all_negatives=True,
        )
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    left_out += dataset.manifest.left_out
    return len(dataset.manifest.entries)
