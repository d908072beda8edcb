"""Evaluates a model on held-out images: its detections under the names of labels, and all metrics."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from backend.detector.average_precision import (
    Instance,
    LabelMatches,
    Precisions,
    match_instances,
    precision_curves,
)
from backend.detector.sam_detectors import WordsDetector
from backend.detector.yolo11 import ImageDetector
from backend.domain import Image, LabelledMask, Photo, Scene
from backend.errors import ImageError
from backend.label_studio.label_config import LabelConfig
from backend.regions.mask_size import resize_mask
from backend.registry.scores import LabelScores, Scores
from training.evaluation.compact_scenes import CompactMasks, CompactScenes
from training.evaluation.held_out import HeldOut
from training.metrics.matching import MatchedDetection, match
from training.metrics.mean_defined import mean_defined
from training.metrics.pixel_metrics import ClassPixels, PixelCounts, label_map, pixel_counts, pixel_scores

logger = logging.getLogger(__name__)

# Average precision counts all detections, highest score first; detections below this score do not change it.
MIN_EVALUATED_SCORE = 0.01
TIMED_IMAGES = 16
# The lowest IoU of a right detection, for precision and recall.
MIN_CORRECT_IOU = 0.5
_Labelled = TypeVar("_Labelled", LabelledMask, Instance)


@dataclass(frozen=True)
class Evaluated:
    """A model's metrics on held-out images, its detections there, and these matched with the ground truth's masks."""

    scores: Scores
    detections: CompactScenes
    matches: dict[str, LabelMatches]


def compute_scores(
    truth: Sequence[CompactMasks],
    scenes: CompactScenes,
    *,
    sizes_wh: Sequence[tuple[int, int]],
    labels: Sequence[str],
    min_score: float,
    ms_an_image: float | None,
) -> tuple[Scores, dict[str, LabelMatches]]:
    """Computes all metrics of a model, see `Scores`; also returns its detections, matched by their masks.

    Average precision counts all detections, highest score first. All other metrics count those from `min_score` on.
    Precision and recall match each, highest score first, with the free garment of its label that has the highest IoU,
    at least 0.5. A pixel has the label on top: of the last region in the ground truth, of the highest-scored detection.

    Args:
        truth: the ground truth of each image, back to front.
        scenes: the model's detections in the same images; masks have the ground truth's size.
        sizes_wh: each image's width and height, in pixels.
        labels: the project's labels, in the label config's order; masks with other labels are ignored.
        min_score: confidence in `[0, 1]` from which detections are shown to people.
    """
    expected = [_with_labels(masks.instances(), labels) for masks in truth]
    detected = [_with_labels(scenes.instances(image), labels) for image in range(len(scenes))]
    boxes = precision_curves(expected, detected, iou_type="bbox")
    mask_matches = match_instances(expected, detected, iou_type="segm")
    masks = {label: label_matches.precisions() for label, label_matches in mask_matches.items()}
    counts = Counter(instance.label for garments in expected for instance in garments)
    matches: list[MatchedDetection] = []
    counted: list[PixelCounts] = []
    # The masks of one image at a time: the masks of all images would take gigabytes.
    for image, size_wh in enumerate(sizes_wh):
        garments = _with_labels(truth[image], labels)
        shown = _with_labels(_labelled(scenes.above(image, min_score)), labels)
        matches += match(image, shown, garments, iou=MIN_CORRECT_IOU)
        counted.append(_pixel_counts(garments, shown, labels, size_wh=size_wh))
    pixels = pixel_scores(counted, labels=len(labels))
    rows = tuple(
        _row(label, counts[label], boxes.get(label), masks.get(label), matches, of_pixels)
        for label, of_pixels in zip(labels, pixels.labels, strict=True)
    )
    classes = (pixels.background, *pixels.labels)
    scores = Scores(
        images=len(truth),
        box_map=mean_defined(row.box_map for row in rows),
        box_map50=mean_defined(row.box_map50 for row in rows),
        mask_map=mean_defined(row.mask_map for row in rows),
        mask_map50=mean_defined(row.mask_map50 for row in rows),
        precision=mean_defined(row.precision for row in rows),
        recall=mean_defined(row.recall for row in rows),
        miou=mean_defined(metrics.iou for metrics in classes),
        mean_accuracy=mean_defined(metrics.accuracy for metrics in classes),
        dice=mean_defined(metrics.dice for metrics in classes),
        boundary_iou=mean_defined(row.boundary_iou for row in rows),
        overall_accuracy=pixels.overall_accuracy,
        ms_an_image=ms_an_image,
        labels=rows,
    )
    return scores, mask_matches


def _row(
    label: str,
    garments: int,
    boxes: Precisions | None,
    masks: Precisions | None,
    matches: Iterable[MatchedDetection],
    pixels: ClassPixels,
) -> LabelScores:
    correct = [detection.is_correct for detection in matches if detection.label == label]
    return LabelScores(
        label=label,
        instances=garments,
        box_map=None if boxes is None else float(boxes.mean()),
        box_map50=None if boxes is None else float(boxes[0].mean()),
        mask_map=None if masks is None else float(masks.mean()),
        mask_map50=None if masks is None else float(masks[0].mean()),
        precision=sum(correct) / len(correct) if correct else None,
        recall=sum(correct) / garments if garments else None,
        iou=pixels.iou,
        accuracy=pixels.accuracy,
        dice=pixels.dice,
        boundary_iou=pixels.boundary_iou,
    )


def _with_labels(garments: Iterable[_Labelled], labels: Sequence[str]) -> list[_Labelled]:
    return [garment for garment in garments if garment.label in labels]


def _labelled(scene: Scene) -> Iterator[LabelledMask]:
    return (LabelledMask(found.mask, found.class_name, found.score) for found in scene.detections)


def _pixel_counts(
    garments: Sequence[LabelledMask], shown: Sequence[LabelledMask], labels: Sequence[str], *, size_wh: tuple[int, int]
) -> PixelCounts:
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    truth, detected = (
        label_map(((layer.mask, numbers[layer.label]) for layer in layers), size_wh=size_wh)
        for layers in (garments, sorted(shown, key=lambda detection: detection.score or 0.0))
    )
    return pixel_counts(truth, detected, labels=len(labels))


def detection_ms(images: Sequence[Photo], detector: ImageDetector, *, min_score: float) -> float | None:
    """Returns milliseconds per image, for up to `TIMED_IMAGES` images in a row; None if there is no image.

    Args:
        min_score: confidence in `[0, 1]` from which detections count, as in production: drawing each mask costs time.
    """
    # Read before: a file is none of the detector's time.
    images = [Image(image.pixels, image.key, image.source) for image in images[:TIMED_IMAGES]]
    if not images:
        return None
    # Not timed: runtimes compile and reserve memory on the first images.
    list(detector.detect(images[:1], min_score=min_score))
    started = time.perf_counter()
    list(detector.detect(images, min_score=min_score))
    return 1000 * (time.perf_counter() - started) / len(images)


def evaluate_detector(
    detector: ImageDetector,
    held_out: Sequence[HeldOut],
    config: LabelConfig,
    *,
    labels: Sequence[str],
    min_score: float,
    images: Sequence[Photo] | None = None,
) -> Evaluated:
    """Evaluates a detector on held-out images.

    SAM 3's words look at whole photographs, as they do in production.

    A class that is an earlier or another name of a label counts as that label; other classes are ignored.

    Args:
        labels: the labels to evaluate, in order.
        min_score: confidence in `[0, 1]` from which detections are shown to people.
        images: the held-out images at the size that the detector was trained at, if `held_out` has them at another.
    """
    sees_whole = isinstance(detector, WordsDetector)
    seen = [held_out_image.image for held_out_image in held_out] if images is None else images
    scenes = detector.detect(
        (_whole(held_out_image) for held_out_image in held_out) if sees_whole else seen,
        min_score=MIN_EVALUATED_SCORE,
    )
    detections = CompactScenes(
        _resized(_named(scene, config), held_out_image.image.size_wh)
        for scene, held_out_image in zip(scenes, held_out, strict=True)
    )
    # SAM 3 with words takes a minute per image without a GPU: it is not run again.
    ms_an_image = None if sees_whole else detection_ms(seen, detector, min_score=min_score)
    scores, matches = compute_scores(
        [held_out_image.truth for held_out_image in held_out],
        detections,
        sizes_wh=[held_out_image.image.size_wh for held_out_image in held_out],
        labels=labels,
        min_score=min_score,
        ms_an_image=ms_an_image,
    )
    return Evaluated(scores, detections, matches)


def _named(scene: Scene, config: LabelConfig) -> Scene:
    named = [(detection, config.label_for(detection.class_name)) for detection in scene.detections]
    return replace(scene, detections=tuple(replace(detection, class_name=label) for detection, label in named if label))


def _whole(held_out_image: HeldOut) -> Photo:
    """Returns the image at its full resolution; if it can no longer be read, as it was read before."""
    try:
        return held_out_image.load_whole() if held_out_image.load_whole else held_out_image.image
    except ImageError as e:
        logger.warning("Task %s is evaluated on a reduced copy: %s", held_out_image.task_id, e)
        return held_out_image.image


def _resized(scene: Scene, size_wh: tuple[int, int]) -> Scene:
    return replace(
        scene,
        detections=tuple(replace(found, mask=resize_mask(found.mask, size_wh)) for found in scene.detections),
    )
