"""COCO's average precision (Lin et al. 2014) of masks and of the boxes around them.

faster-coco-eval computes the IoU of run-length encoded masks. Its own evaluation matches again whenever images are
chosen anew; a bootstrap chooses them a thousand times. The tests compare both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from faster_coco_eval import mask as rle

from backend.domain import Detection, LabelledMask
from backend.regions.mask_runs import coco_rle

# `float64 (10, 101)` in `[0, 1]`: a row per IoU from 0.5 to 0.95, a column per recall from 0 to 1.
Precisions = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
# COCO's IoUs and recalls, and the number of detections of a label that it counts per image.
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MAX_DETECTIONS = 100


@dataclass(frozen=True)
class Instance:
    """One garment as COCO counts it.

    Attributes:
        size_wh: size of its image, in pixels.
        runs: its mask, run-length encoded.
        box_xywh: the box around its mask: left, top, width and height in pixels.
        score: confidence in `[0, 1]`; 0 where a person drew it.
    """

    label: str
    score: float
    size_wh: tuple[int, int]
    area_px: int
    runs: dict[str, Any]
    box_xywh: tuple[float, float, float, float]


def instances(masks: Sequence[LabelledMask | Detection]) -> tuple[Instance, ...]:
    """Encodes one image's garments once, so that they can be counted several times."""
    return tuple(
        instance_of(
            garment.label if isinstance(garment, LabelledMask) else garment.class_name,
            garment.score or 0.0,
            coco_rle(garment.mask),
        )
        for garment in masks
    )


def instance_of(label: str, score: float, runs: dict[str, Any]) -> Instance:
    """Returns the garment whose mask is encoded already: `runs` as `coco_rle` returns them."""
    left, top, width, height = map(float, rle.toBbox(runs))
    return Instance(
        label=label,
        score=score,
        size_wh=(runs["size"][1], runs["size"][0]),
        area_px=int(rle.area(runs)),
        runs=runs,
        box_xywh=(left, top, width, height),
    )


@dataclass(frozen=True)
class LabelMatches:
    """The detections of one label in a list of images, highest score first, matched with the ground truth.

    Which detection is right does not depend on other images: so what is matched once can be counted for any choice of
    images.

    Attributes:
        garments: `int64 (images,)`: the label's garments in each image.
        images: `int64 (detections,)`: each detection's image.
        right: for each IoU from 0.5 to 0.95, the places of the right detections: `int64 (≤ detections,)`, ascending.
    """

    garments: Counts
    images: Counts
    right: tuple[Counts, ...]

    def precisions(self) -> Precisions:
        """Returns the precision at each IoU and recall, as COCO interpolates it."""
        rows = np.zeros((len(IOU_THRESHOLDS), len(RECALLS)))
        for row, right in zip(rows, self.right, strict=True):
            found = np.arange(1, len(right) + 1)
            precision = np.append(np.maximum.accumulate((found / (right + 1))[::-1])[::-1], 0.0)
            row[:] = precision[np.searchsorted(found / self.garments.sum(), RECALLS)]
        return rows

    def average_precisions(self, draws: Counts) -> npt.NDArray[np.float64]:
        """Returns the average precision over IoU from 0.5 to 0.95 for each draw: `float64 (draws,)`.

        Args:
            draws: `int64 (draws, images)`: how often each draw has each image.

        Returns:
            Values in `[0, 1]`; NaN for a draw without a garment of the label.
        """
        garments = (draws @ self.garments)[:, None]
        # Small numbers, and no division of integers: all of the time goes into passing over them.
        drawn = draws.astype(np.int32).take(self.images, axis=1)
        detections = np.maximum(np.cumsum(drawn, axis=1, dtype=np.int32), 1)
        total = np.zeros(len(draws))
        for right in self.right:
            if not len(right):
                continue
            found = np.cumsum(drawn.take(right, axis=1), axis=1, dtype=np.int32)
            precision = found / detections.take(right, axis=1)
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            # How many of the recalls 0.01, 0.02, … each right detection reaches first; the first also has recall 0.
            reached = np.diff(np.floor(100 * found / np.maximum(garments, 1)), axis=1, prepend=-1)
            total += (precision * reached).sum(axis=1)
        return np.where(garments[:, 0] > 0, total / (len(IOU_THRESHOLDS) * len(RECALLS)), np.nan)


def match_instances(
    truth: Sequence[Sequence[Instance]], detected: Iterable[Sequence[Instance]], *, iou_type: Literal["segm", "bbox"]
) -> dict[str, LabelMatches]:
    """Matches the detections of each label in the ground truth, image by image, as COCO does.

    At each IoU from 0.5 to 0.95 a detection, highest score first, takes the free garment with the highest IoU.

    Args:
        truth: the ground truth of each image; detections of labels that are not in it are ignored.
        detected: the detections in the same images; masks have the size of the ground truth's masks.
        iou_type: measures IoU of masks (`segm`), or of the boxes around them (`bbox`).
    """
    garments = {label: np.zeros(len(truth), np.int64) for label in _labels(truth)}
    scores: dict[str, list[float]] = {label: [] for label in garments}
    images: dict[str, list[int]] = {label: [] for label in garments}
    right: dict[str, list[npt.NDArray[np.bool_]]] = {label: [] for label in garments}
    for image, (expected, found) in enumerate(zip(truth, detected, strict=True)):
        for label in {instance.label for instance in (*expected, *found)} & garments.keys():
            own = [instance for instance in expected if instance.label == label]
            detections = sorted(
                (instance for instance in found if instance.label == label), key=lambda instance: -instance.score
            )[:MAX_DETECTIONS]
            garments[label][image] = len(own)
            scores[label] += [instance.score for instance in detections]
            images[label] += [image] * len(detections)
            right[label] += _right(own, detections, iou_type=iou_type)
    matches = {}
    for label, per_image in garments.items():
        # Stable, as COCO's sort: equal scores stay in the order of the images.
        order = np.argsort(-np.array(scores[label], float), kind="stable")
        by_iou = np.array(right[label], bool).reshape(-1, len(IOU_THRESHOLDS))[order].T
        matches[label] = LabelMatches(
            per_image, np.array(images[label], np.int64)[order], tuple(np.flatnonzero(row) for row in by_iou)
        )
    return matches


def precision_curves(
    truth: Sequence[Sequence[Instance]], detected: Iterable[Sequence[Instance]], *, iou_type: Literal["segm", "bbox"]
) -> dict[str, Precisions]:
    """Returns the precision of each label in the ground truth, at each IoU and recall.

    Args:
        truth, detected, iou_type: see `match_instances`.

    Returns:
        Each label's precisions: their mean is the label's AP50-95, the mean of the first row its AP50.
    """
    matches = match_instances(truth, detected, iou_type=iou_type)
    return {label: label_matches.precisions() for label, label_matches in matches.items()}


def average_precisions(truth: Sequence[Sequence[Instance]], detected: Iterable[Sequence[Instance]]) -> dict[str, float]:
    """Returns the average precision of masks over IoU from 0.5 to 0.95, in `[0, 1]`, of each label in the ground truth.

    Args:
        truth, detected: see `match_instances`.
    """
    return {label: float(values.mean()) for label, values in precision_curves(truth, detected, iou_type="segm").items()}


def mask_map(truth: Sequence[Sequence[LabelledMask]], detected: Iterable[Sequence[Detection]]) -> float | None:
    """Returns the mean average precision over labels and IoU from 0.5 to 0.95, in `[0, 1]`; None without ground truth.

    Args:
        truth, detected: garments and detections of the same images; see `precision_curves`.
    """
    by_label = average_precisions([instances(masks) for masks in truth], (instances(masks) for masks in detected))
    return float(np.mean(list(by_label.values()))) if by_label else None


def _labels(truth: Iterable[Sequence[Instance]]) -> list[str]:
    return sorted({instance.label for garments in truth for instance in garments})


def _right(
    garments: Sequence[Instance], detections: Sequence[Instance], *, iou_type: Literal["segm", "bbox"]
) -> list[npt.NDArray[np.bool_]]:
    """Returns at which IoUs each detection is right, `bool (10,)`; the detections' scores descend."""
    if not (garments and detections):
        return [np.zeros(len(IOU_THRESHOLDS), bool)] * len(detections)
    found, expected = (
        [instance.runs if iou_type == "segm" else list(instance.box_xywh) for instance in instances]
        for instances in (detections, garments)
    )
    overlaps = np.asarray(rle.iou(found, expected, [0] * len(garments)))
    free = np.ones((len(IOU_THRESHOLDS), len(garments)), bool)
    right = []
    for detection in overlaps:
        candidates = np.where(free & (detection >= IOU_THRESHOLDS[:, None]), detection, -1.0)
        # Of equal ones COCO takes the last.
        best = len(garments) - 1 - candidates[:, ::-1].argmax(axis=1)
        is_right = np.take_along_axis(candidates, best[:, None], axis=1)[:, 0] >= 0
        free[is_right, best[is_right]] = False
        right.append(is_right)
    return right
