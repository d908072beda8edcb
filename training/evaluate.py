"""Computes the metrics of any weights, including models that Drape did not train, on a project's approved images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backend.compute.devices import prepare_device
from backend.connections import Connections
from backend.detector.detector_pool import load_detector
from backend.detector.runtimes.network import load_network
from backend.detector.runtimes.torch_runtime import TorchRuntime
from backend.detector.yolo11 import Detector, ImageDetector
from backend.errors import DatasetError
from backend.images.fetch import ImageStore
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.registry.registry import Version
from backend.registry.scores import Scores
from backend.settings import Settings
from backend.storage.atomic_files import staging_folder
from training.annotations.approvals import Approved
from training.annotations.count import approval_counter
from training.data_in.class_mapping import read_mapping
from training.data_in.evaluation_set import evaluation_images
from training.data_in.formats.detect import ReadOptions, open_set
from training.dataset.manifest import latest_manifest
from training.evaluation.held_out import HeldOut, held_out_images
from training.evaluation.score import evaluate_detector
from training.runs import evaluation_folder

ImageChoice = Literal["split", "approved"]


@dataclass(frozen=True)
class ExternalSet:
    """An annotated data set from elsewhere, in any format that `drape import` reads.

    Attributes:
        images: the folder of its images, if it is not the one that the data set names.
        mapping: a YAML or JSON file of `their class: our label`.
    """

    path: str
    images: Path | None = None
    mapping: Path | None = None


def evaluate_model(
    connections: Connections, project_id: int, model: Version | Path, *, source: ImageChoice | ExternalSet
) -> Scores:
    """Evaluates a version, or the weights in a `.pt` file, under the labels of a project.

    Args:
        source: `split`: the project's held-out images; `approved`: all images that a person approved; or another
            data set.

    Raises:
        DatasetError: there is no image to evaluate on.
        LabelStudioError, LabelConfigError, ModelError: Label Studio, the label config or the weights cannot be read.
        StorageError: the images' pixels cannot be stored, for example because the disk is full.
    """
    settings = connections.settings
    device = prepare_device(settings)
    detector: ImageDetector
    if isinstance(model, Version):
        side_px, detector = model.image_size_px, load_detector(model, device=device).detector
    else:
        network, classes = load_network(model)
        side_px = settings.image_size_for_training_px(None)
        detector = Detector(TorchRuntime(network, device=device), classes=classes, image_size_px=side_px)
    config = parse_label_config(connections.label_studio.project(project_id).label_config)
    with staging_folder(evaluation_folder(settings)) as folder:
        if isinstance(source, ExternalSet):
            images = _external_images(source, config, settings, side_px=side_px, folder=folder)
        else:
            images = _project_images(connections, project_id, config, source, side_px=side_px, folder=folder)
        return evaluate_detector(
            detector, images, config, labels=config.label_values, min_score=settings.model_score_threshold
        ).scores


def _project_images(
    connections: Connections, project_id: int, config: LabelConfig, source: ImageChoice, *, side_px: int, folder: Path
) -> list[HeldOut]:
    approved = [
        annotation for annotation in approval_counter(connections, project_id).update().approved if annotation.by_person
    ]
    if source == "split":
        approved = _held_out(connections, project_id, approved)
    store = ImageStore(connections.settings, bearer=connections.label_studio.bearer)
    images = list(held_out_images(approved, config, store, side_px=side_px, folder=folder))
    if not images:
        raise DatasetError(f"Project {project_id} has no approved image to evaluate on ({source}).")
    return images


def _external_images(
    external: ExternalSet, config: LabelConfig, settings: Settings, *, side_px: int, folder: Path
) -> list[HeldOut]:
    mapping = read_mapping(external.mapping, config)
    _, dataset = open_set([external.path], None, ReadOptions(images=external.images, image_key=config.image_key))
    images = list(evaluation_images(dataset, config, mapping, settings, side_px=side_px, folder=folder))
    if not any(image.truth for image in images):
        raise DatasetError(
            f"{external.path} has no image with a garment of the project's labels ({', '.join(config.label_values)}). "
            "Map its classes to labels with --mapping."
        )
    return images


def _held_out(connections: Connections, project_id: int, approved: list[Approved]) -> list[Approved]:
    """Returns the annotations whose images the latest training held out."""
    manifest = latest_manifest(connections.registry, project_id)
    sides = {entry.annotation_id: entry.side for entry in manifest.entries} if manifest else {}
    return [annotation for annotation in approved if sides.get(annotation.annotation_id) == "val"]
