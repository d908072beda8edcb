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
from backend.settings import Settings
from training.annotations.approvals import Approved, approved_annotations, rule_of
from training.data_out.coco import write_coco
from training.data_out.cutouts import write_cutouts
from training.data_out.garment_images import garment_images
from training.data_out.index_masks import write_index_masks
from training.dataset.build import build_dataset
from training.dataset.manifest import latest_manifest

ExportFormat = Literal["coco", "coco-polygons", "yolo", "masks", "cutouts"]
Who = Literal["person", "model", "both"]
# Larger than any image: in an exported YOLO data set photographs keep their size.
FULL_SIZE_PX = 1 << 20


@dataclass(frozen=True)
class Chosen:
    """Which garments are exported.

    Attributes:
        by: those approved by a `person`, those accepted by the `model` without a person, or `both`.
        labels: labels of the project; empty for all.
        min_score: the least score of a garment that has a score; garments that a person drew have none.
    """

    by: Who = "person"
    labels: tuple[str, ...] = ()
    min_score: float = 0.0


def export_data(
    connections: Connections,
    project_id: int,
    *,
    into: Path,
    form: ExportFormat,
    chosen: Chosen,
    soft: bool,
    tracked: Callable[[Sequence[Approved]], Iterable[Approved]],
) -> int:
    """Writes the chosen garments into a new or empty folder; returns the number of images, or of cut-outs.

    Args:
        soft: whether cut-outs fade at the edge.
        tracked: takes the annotations, yields them one at a time, and may show the progress.

    Raises:
        DatasetError: no annotation is chosen, a label is unknown, or the folder is not empty.
        LabelStudioError, LabelConfigError: Label Studio does not answer or refuses; its label config cannot be served.
    """
    if into.exists() and any(into.iterdir()):
        raise DatasetError(f"{into} is not empty: an export goes into a folder of its own.")
    config = _config_of(parse_label_config(connections.label_studio.project(project_id).label_config), chosen.labels)
    approved = _choose(connections.label_studio.annotated_tasks(project_id), connections.settings, chosen)
    if not approved:
        raise DatasetError(f"Project {project_id} has no annotation that was asked for.")
    images = ImageStore(connections.settings, bearer=connections.label_studio.bearer)
    if form == "yolo":
        return _write_yolo(connections, project_id, approved, config, images, into)
    made = garment_images(tracked(approved), config, images)
    match form:
        case "coco" | "coco-polygons":
            outlines: Literal["rle", "polygons"] = "rle" if form == "coco" else "polygons"
            return write_coco(
                made, config.label_values, into, outlines=outlines, outlining=connections.settings.outlining
            )
        case "masks":
            return write_index_masks(made, config.label_values, into)
        case "cutouts":
            return write_cutouts(made, into, soft=soft)


def _config_of(config: LabelConfig, labels: Collection[str]) -> LabelConfig:
    """Returns the config with only the wanted labels, in its own order."""
    unknown = sorted(set(labels) - set(config.label_values))
    if unknown:
        raise DatasetError(f"The project has no label {', '.join(unknown)}. It has: {', '.join(config.label_values)}.")
    if not labels:
        return config
    return replace(config, labels=tuple(label for label in config.labels if label.value in labels))


def _choose(tasks: Sequence[dict[str, object]], settings: Settings, chosen: Chosen) -> list[Approved]:
    approved = approved_annotations(tasks, rule=rule_of(settings), with_auto_accepted=chosen.by != "person")
    wanted = [
        annotation for annotation in approved if chosen.by == "both" or annotation.by_person == (chosen.by == "person")
    ]
    return [replace(annotation, result=_sure(annotation, chosen.min_score)) for annotation in wanted]


def _sure(annotation: Approved, min_score: float) -> list[dict[str, object]]:
    return [region for region in annotation.result if region.get("score") is None or region["score"] >= min_score]


def _write_yolo(
    connections: Connections,
    project_id: int,
    approved: Sequence[Approved],
    config: LabelConfig,
    images: ImageStore,
    into: Path,
) -> int:
    """Writes the YOLO data set; images keep the sides that the project's models were trained and evaluated on."""

    def load(annotation: Approved) -> Image:
        return load_image(images, Task(id=annotation.task_id, data=annotation.data), config)

    kept = into.with_name(f"{into.name}.examples")
    try:
        dataset = build_dataset(
            approved,
            config,
            folder=into,
            load=load,
            image_size_px=FULL_SIZE_PX,
            earlier=latest_manifest(connections.registry, project_id),
        )
    finally:
        shutil.rmtree(kept, ignore_errors=True)
    return len(dataset.manifest.entries)
