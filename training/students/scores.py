"""Judges a student's answers on the held-out images, by the code that judges Drape's own models."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from backend.detector.average_precision import Instance, Precisions, instances, precision_curves
from backend.detector.exported.answers import Answer
from backend.detector.yolo11 import ImageDetector
from backend.domain import Image, Photo
from training.evaluation.held_out import HeldOut
from training.evaluation.score import MIN_EVALUATED_SCORE
from training.metrics.mean_defined import mean_defined
from training.metrics.pixel_metrics import ClassPixels, LabelMap, PixelScores, label_map, pixel_counts, pixel_scores
from training.students.lesson import Lesson
from training.students.student import Student

TIMED_IMAGES = 24


@dataclass(frozen=True)
class LabelScore:
    """One label's metrics in `[0, 1]`; None without ground truth, or for a student that names no labels."""

    label: str
    garments: int
    mask_map: float | None
    iou: float | None


@dataclass(frozen=True)
class StudentScores:
    """A student's metrics on the held-out images, in `[0, 1]`; None where a student names no labels.

    Means over labels with ground truth; `miou`, `mean_accuracy` and `dice` count the background as one more label.
    `backend.registry.scores.Scores` describes them. The boundary IoU is that of Cheng et al. (CVPR 2021), of all pixels
    of a label together.

    Attributes:
        clothing_iou, clothing_dice, clothing_boundary_iou: of clothing or not, whatever its label.
        images: the IoU of each image: mean over its labels, in truth or answer; of clothing without labels.
    """

    mask_map: float | None
    mask_map50: float | None
    miou: float | None
    mean_accuracy: float | None
    overall_accuracy: float | None
    dice: float | None
    boundary_iou: float | None
    clothing_iou: float | None
    clothing_dice: float | None
    clothing_boundary_iou: float | None
    labels: tuple[LabelScore, ...]
    images: tuple[float, ...]


@dataclass(frozen=True)
class Judged:
    """A student's metrics, and for each held-out image the map of its answer, as it is shown to people.

    Attributes:
        maps: `uint16 (H, W)` each: the labels from 1; all clothing is 1 for a student that names no labels.
    """

    scores: StudentScores
    maps: tuple[LabelMap, ...]


def judge(student: Student, lesson: Lesson, *, min_score: float, device: str) -> Judged:
    """Judges a student on the images of the lesson that judge.

    Args:
        min_score: confidence in `[0, 1]` from which a garment is shown to people, and counts in the metrics of pixels.
    """
    maps, detected = _answers(student, lesson, min_score=min_score, device=device)
    truth = [_truth_map(picture, lesson.labels) for picture in lesson.judge]
    names_labels = student.kind != "clothing"
    expected = [[one for one in picture.truth.instances() if one.label in lesson.labels] for picture in lesson.judge]
    counts = Counter(garment.label for garments in expected for garment in garments)
    precisions = precision_curves(expected, detected, iou_type="segm") if names_labels else {}
    pairs = list(zip(truth, maps, strict=True))
    pixels = _pixel_scores(pairs, labels=len(lesson.labels)) if names_labels else None
    clothing = _pixel_scores([(_clothing(one), _clothing(other)) for one, other in pairs], labels=1)
    images = tuple(image_iou(one, other, names_labels=names_labels) for one, other in pairs)
    return Judged(_scores(lesson.labels, counts, precisions, pixels, clothing, images), tuple(maps))


def drawn(answer: Answer, labels: Sequence[str], *, size_wh: tuple[int, int], min_score: float) -> LabelMap:
    """Returns an answer as people see it: a student's own map, or its garments, those with the highest score on top."""
    if answer.label_map is not None:
        return answer.label_map
    shown = [garment for garment in reversed(answer.garments) if garment.score >= min_score]
    return label_map(((garment.mask, 1 + labels.index(garment.class_name)) for garment in shown), size_wh=size_wh)


def image_iou(truth: LabelMap, answer: LabelMap, *, names_labels: bool) -> float:
    """Returns how well one image is answered, in `[0, 1]`: the mean IoU over the labels in truth or answer.

    An image without a garment, and without a garment in the answer, is answered perfectly.
    """
    if not names_labels:
        truth, answer = _clothing(truth), _clothing(answer)
    numbers = [number for number in np.union1d(truth, answer) if number]
    ious = [
        np.count_nonzero((truth == number) & (answer == number))
        / np.count_nonzero((truth == number) | (answer == number))
        for number in numbers
    ]
    return float(np.mean(ious)) if ious else 1.0


def torch_ms(student: Student, lesson: Lesson, *, min_score: float, device: str) -> float:
    """Returns the median of milliseconds an image, from pixels to garments, one image after another, in PyTorch.

    Args:
        min_score: confidence in `[0, 1]` from which garments count, as in production: drawing each mask costs time.
    """
    return _median_ms(lesson, lambda images: student.predict(images, min_score=min_score, device=device))


def exported_ms(detector: ImageDetector, lesson: Lesson, *, min_score: float) -> float:
    """Returns what `torch_ms` does, of an exported student in its own runtime."""
    # Asked for each alone: a detector may compute several at a time.
    return _median_ms(
        lesson, lambda images: (scene for one in images for scene in detector.detect([one], min_score=min_score))
    )


def _median_ms(lesson: Lesson, answer: Callable[[Sequence[Photo]], Iterator[object]]) -> float:
    # Read before: a file is none of the student's time.
    images = [Image(one.image.pixels, one.image.key, one.image.source) for one in lesson.judge[:TIMED_IMAGES]]
    # Not timed: libraries reserve memory on the first image.
    answers = answer([images[0], *images])
    next(answers)
    times = []
    for _ in images:
        started = time.perf_counter()
        next(answers)
        times.append(1000 * (time.perf_counter() - started))
    return median(times)


def _answers(
    student: Student, lesson: Lesson, *, min_score: float, device: str
) -> tuple[list[LabelMap], list[tuple[Instance, ...]]]:
    """Returns each image's map as it is shown, and its garments; one answer at a time, as all take gigabytes."""
    maps, detected = [], []
    images = [picture.image for picture in lesson.judge]
    answers = student.predict(images, min_score=MIN_EVALUATED_SCORE, device=device)
    for image, answer in zip(images, answers, strict=True):
        maps.append(drawn(answer, lesson.labels, size_wh=image.size_wh, min_score=min_score))
        detected.append(instances(answer.garments))
    return maps, detected


def _truth_map(picture: HeldOut, labels: Sequence[str]) -> LabelMap:
    known = [(garment.mask, 1 + labels.index(garment.label)) for garment in picture.truth if garment.label in labels]
    return label_map(known, size_wh=picture.image.size_wh)


def _pixel_scores(pairs: Iterable[tuple[LabelMap, LabelMap]], *, labels: int) -> PixelScores:
    return pixel_scores((pixel_counts(truth, answer, labels=labels) for truth, answer in pairs), labels=labels)


def _clothing(one: LabelMap) -> LabelMap:
    return (one > 0).astype(np.uint16)


def _scores(
    labels: Sequence[str],
    garments: Mapping[str, int],
    precisions: Mapping[str, Precisions],
    pixels: PixelScores | None,
    clothing: PixelScores,
    images: tuple[float, ...],
) -> StudentScores:
    of_labels = pixels.labels if pixels else (ClassPixels(),) * len(labels)
    classes = (pixels.background, *pixels.labels) if pixels else ()
    return StudentScores(
        mask_map=mean_defined(float(values.mean()) for values in precisions.values()),
        mask_map50=mean_defined(float(values[0].mean()) for values in precisions.values()),
        miou=mean_defined(one.iou for one in classes),
        mean_accuracy=mean_defined(one.accuracy for one in classes),
        overall_accuracy=pixels.overall_accuracy if pixels else None,
        dice=mean_defined(one.dice for one in classes),
        boundary_iou=mean_defined(one.boundary_iou for one in of_labels),
        clothing_iou=clothing.labels[0].iou,
        clothing_dice=clothing.labels[0].dice,
        clothing_boundary_iou=clothing.labels[0].boundary_iou,
        labels=tuple(
            LabelScore(label, garments.get(label, 0), _precision(precisions.get(label)), of_label.iou)
            for label, of_label in zip(labels, of_labels, strict=True)
        ),
        images=images,
    )


def _precision(values: Precisions | None) -> float | None:
    return None if values is None else float(values.mean())
