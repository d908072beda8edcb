"""Selects a project's garments, and writes them in one of the formats."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from backend.connections import Connections
from backend.domain import Image
from backend.errors import DatasetError
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.payloads import Task
from training.annotations.approvals import Approved, Rule, accepting_choices, approved_annotations, rule_of
from training.data_out.coco import write_coco
from training.data_out.cutouts import write_cutouts
from training.data_out.garment_images import garment_images
from training.data_out.index_masks import write_index_masks
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


def export_data(
    connections: Connections,
    project_id: int,
    *,
    folder: Path,
    export_format: ExportFormat,
    selection: Selection,
    soft_edges: bool,
    track: Callable[[Sequence[Approved]], Iterable[Approved]],
) -> int:
    """Writes the chosen garments into a new or empty folder; returns the number of images, or of cut-outs.

    Args:
        soft_edges: whether cut-outs fade at the edge.
        track: takes the annotations, yields them one at a time, and may show the progress.

    Raises:
        DatasetError: no annotation is chosen, a label is unknown, or the folder is not empty.
        LabelStudioError, LabelConfigError: Label Studio does not answer or refuses; its label config cannot be served.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} is not empty. Give a new or empty folder.")
    label_config = connections.label_studio.project(project_id).label_config
    config = _restrict_labels(parse_label_config(label_config), selection.labels)
    rule = rule_of(connections.settings, accepting_choices(connections.settings, lambda: label_config))
    approved = _select(connections.label_studio.annotated_tasks(project_id), rule, selection)
    if not approved:
        raise DatasetError(f"Project {project_id} has no annotation to export with these options.")
    images = ImageStore(connections.settings, bearer=connections.label_studio.bearer)
    if export_format == "yolo":
        return _write_yolo(connections, project_id, approved, config, images, folder)
    annotated_images = garment_images(track(approved), config, images)
    match export_format:
        case "coco" | "coco-polygons":
            outlines: Literal["rle", "polygons"] = "rle" if export_format == "coco" else "polygons"
            return write_coco(
                annotated_images,
                config.label_values,
                folder,
                outlines=outlines,
                outlining=connections.settings.outlining,
            )
        case "masks":
            return write_index_masks(annotated_images, config.label_values, folder)
        case "cutouts":
            return write_cutouts(annotated_images, folder, soft_edges=soft_edges)


def _restrict_labels(config: LabelConfig, labels: Collection[str]) -> LabelConfig:
    """Returns the config with only the wanted labels, named by value or alias, in its own order."""
    labels = {config.label_of(label) for label in labels}
    unknown = sorted(labels - set(config.label_values))
    if unknown:
        raise DatasetError(f"The project has no label {', '.join(unknown)}. It has: {', '.join(config.label_values)}.")
    if not labels:
        return config
    return replace(config, labels=tuple(label for label in config.labels if label.value in labels))


def _select(tasks: Sequence[dict[str, object]], rule: Rule, selection: Selection) -> list[Approved]:
    approved = approved_annotations(tasks, rule=rule, with_auto_accepted=selection.by != "person")
    by_person = selection.by == "person"
    return [
        replace(annotation, result=_drop_low_scores(annotation, selection.min_score))
        for annotation in approved
        if selection.by == "both" or annotation.by_person == by_person
    ]


def _drop_low_scores(annotation: Approved, min_score: float) -> list[dict[str, object]]:
    return [region for region in annotation.result if region.get("score") is None or region["score"] >= min_score]


def _write_yolo(
    connections: Connections,
    project_id: int,
    approved: Sequence[Approved],
    config: LabelConfig,
    images: ImageStore,
    folder: Path,
) -> int:
    """Writes the YOLO data set; images keep the sides that the project's models were trained and evaluated on."""

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
        )
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    return len(dataset.manifest.entries)
