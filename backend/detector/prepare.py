"""Prepares a model version for pre-annotation: exports it, verifies the export, finds clusters of images."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from filelock import FileLock

from backend.detector.average_precision import mask_map
from backend.detector.clusters import find_clusters
from backend.detector.preparation import (
    CLUSTERS_FILE,
    OPENVINO_FILE,
    PREPARED,
    RECORD_FILE,
    RUNTIMES,
    Preparation,
    read_preparation,
)
from backend.detector.runtimes.base import Runtime
from backend.detector.runtimes.network import GarmentNetwork, load_network
from backend.detector.runtimes.openvino_export import export_openvino
from backend.detector.runtimes.openvino_runtime import OpenVinoRuntime, supported_precisions
from backend.detector.runtimes.torch_runtime import TorchRuntime
from backend.detector.yolo11 import Detector
from backend.domain import Detection, LabelledMask, Photo, Scene
from backend.errors import ModelError
from backend.registry.registry import Version, check_weights
from backend.storage.atomic_files import staging_folder

logger = logging.getLogger(__name__)

# How much mask mAP an exported model may lose against PyTorch: on labelled images, and where PyTorch's own detections
# stand in for labels. In the second case each border that moves by a pixel counts in full.
MAX_MAP_LOSS = 0.005
MAX_PSEUDO_MAP_LOSS = 0.02
# The score that PyTorch's detections need to stand in for labels.
PSEUDO_LABEL_SCORE = 0.25
MIN_SCORE = 0.05
VERIFIED_IMAGES = 48


def prepare(
    version: Version, images: Sequence[Photo], *, truth: Sequence[Sequence[LabelledMask]] | None = None, device: str
) -> Preparation:
    """Prepares a version unless it is prepared already; of several processes that ask at once, one prepares it.

    Args:
        images: images of the project, for the clusters; the first of them also serve to verify the runtime.
        truth: ground truth of the first images; None if nobody has labelled them.
        device: as Ultralytics names it.

    Raises:
        ModelError: the version's weights are missing, were changed, or do not load.
    """
    target = version.files.folder / PREPARED
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name("prepared.lock")):
        existing = read_preparation(version)
        if existing is not None:
            return existing
        check_weights(version)
        # One that is stored already cannot be read, and must not stay.
        is_first = not any(path.startswith(f"{PREPARED}/") for path in version.files.digests())
        with staging_folder(target) as staging:
            started = time.monotonic()
            preparation = _prepare(version, images, truth, device, staging)
            (staging / RECORD_FILE).write_text(json.dumps(asdict(preparation), indent=1))
            version.files.put_folder(PREPARED, staging, first=is_first)
    # If another machine was first, its preparation counts.
    preparation = read_preparation(version) or preparation
    logger.info(
        "Model version %s is prepared for runtime %s: %s (%.0f s)",
        version.name,
        preparation.runtime,
        preparation.note,
        time.monotonic() - started,
    )
    return preparation


def _prepare(
    version: Version, images: Sequence[Photo], truth: Sequence[Sequence[LabelledMask]] | None, device: str, folder: Path
) -> Preparation:
    if version.network != "yolo":
        return Preparation(RUNTIMES["f32"], "it is a network of another architecture, which is exported already.")
    network, _ = load_network(version.weights)
    runtime: Runtime
    if device == "cpu":
        preparation, runtime = _fastest_on_cpu(version, network, images, truth, folder)
    else:
        preparation = Preparation("torch", f"it is the fastest on {device}.")
        runtime = TorchRuntime(network, device=device)
    # The features alone: no detection has a score above 1, so that no mask is drawn.
    scenes = _detect(version, runtime, images, min_score=2.0)
    features = [scene.features for scene in scenes if scene.features is not None]
    if features:
        find_clusters(np.stack(features)).save(folder / CLUSTERS_FILE)
    return preparation


def _fastest_on_cpu(
    version: Version,
    network: GarmentNetwork,
    images: Sequence[Photo],
    truth: Sequence[Sequence[LabelledMask]] | None,
    folder: Path,
) -> tuple[Preparation, Runtime]:
    torch = TorchRuntime(network, device="cpu")
    verified = images[: VERIFIED_IMAGES if truth is None else len(truth)]
    torch_scenes = list(_detect(version, torch, verified))
    expected = [list(confident_detections(scene.detections)) for scene in torch_scenes] if truth is None else truth
    max_loss = MAX_PSEUDO_MAP_LOSS if truth is None else MAX_MAP_LOSS
    map_torch = mask_map(expected, [scene.detections for scene in torch_scenes])
    if map_torch is None:
        return Preparation("torch", "there were no garments to verify faster runtimes with."), torch
    try:
        export_openvino(network, folder / OPENVINO_FILE)
    except ModelError as e:
        return Preparation("torch", str(e), map_torch, None, len(verified)), torch
    for precision in supported_precisions():
        faster = OpenVinoRuntime(folder / OPENVINO_FILE, precision=precision)
        scenes = _detect(version, faster, verified)
        map_faster = mask_map(expected, (scene.detections for scene in scenes)) or 0.0
        note = f"its mask mAP is {map_faster:.4f}, PyTorch's {map_torch:.4f}."
        if map_faster >= map_torch - max_loss:
            return Preparation(RUNTIMES[precision], note, map_torch, map_faster, len(verified)), faster
        logger.warning("%s cannot use the runtime openvino-%s: %s", version.name, precision, note)
    return Preparation("torch", "faster runtimes lose too much mask mAP.", map_torch, None, len(verified)), torch


def _detect(
    version: Version, runtime: Runtime, images: Sequence[Photo], *, min_score: float = MIN_SCORE
) -> Iterator[Scene]:
    detector = Detector(runtime, classes=version.classes, image_size_px=version.image_size_px)
    return detector.detect(images, min_score=min_score)


def confident_detections(detections: Iterable[Detection]) -> Iterator[LabelledMask]:
    """Yields the detections of one image that may stand in for labels, by `PSEUDO_LABEL_SCORE`."""
    for detection in detections:
        if detection.score >= PSEUDO_LABEL_SCORE:
            yield LabelledMask(detection.mask, detection.class_name)
