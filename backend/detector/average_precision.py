"""COCO's average precision (Lin et al. 2014) of masks and of the boxes around them, by faster-coco-eval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle

from backend.domain import Detection, LabelledMask
from backend.regions.mask_runs import coco_rle

logger = logging.getLogger(__name__)

# `float64 (10, 101)` in `[0, 1]`: a row per IoU from 0.5 to 0.95, a column per recall from 0 to 1.
Precisions = npt.NDArray[np.float64]


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
    return tuple(map(_instance, masks))


def precision_curves(
    truth: Sequence[Sequence[Instance]], detected: Sequence[Sequence[Instance]], *, iou_type: Literal["segm", "bbox"]
) -> dict[str, Precisions]:
    """Returns the precision of each label in the ground truth, at each IoU and recall.

    Args:
        truth: the ground truth of each image; detections of labels that are not in it are ignored.
        detected: the detections in the same images; masks have the size of the ground truth's masks.
        iou_type: measures IoU of masks (`segm`), or of the boxes around them (`bbox`).

    Returns:
        Each label's precisions: their mean is the label's AP50-95, the mean of the first row its AP50.
    """
    labels = sorted({instance.label for garments in truth for instance in garments})
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    results = [
        {"image_id": image, "category_id": numbers[instance.label], "score": instance.score, **_shape(instance)}
        for image, detections in enumerate(detected)
        for instance in detections
        if instance.label in numbers
    ]
    if not results:
        return {label: np.zeros((10, 101)) for label in labels}
    annotations = [
        {"image_id": image, "category_id": numbers[instance.label], "iscrowd": 0, **_shape(instance)}
        for image, garments in enumerate(truth)
        for instance in garments
    ]
    data = {
        "images": [_image(image, [*garments, *detected[image]]) for image, garments in enumerate(truth)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, start=1)],
    }
    expected = COCO(data)
    evaluation = COCOeval_faster(expected, expected.loadRes(results), iou_type, print_function=logger.debug)
    evaluation.evaluate()
    evaluation.accumulate()
    # Axes: IoU, recall, label, garment size, limit of detections per image. Takes all sizes and the highest limit.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    return {label: precision[:, :, number] for number, label in enumerate(labels)}


def average_precisions(truth: Sequence[Sequence[Instance]], detected: Sequence[Sequence[Instance]]) -> dict[str, float]:
    """Returns the average precision of masks over IoU from 0.5 to 0.95, in `[0, 1]`, of each label in the ground truth.

    Args:
        truth, detected: see `precision_curves`.
    """
    return {label: float(values.mean()) for label, values in precision_curves(truth, detected, iou_type="segm").items()}


def mask_map(truth: Sequence[Sequence[LabelledMask]], detected: Sequence[Sequence[Detection]]) -> float | None:
    """Returns the mean average precision over labels and IoU from 0.5 to 0.95, in `[0, 1]`; None without ground truth.

    Args:
        truth, detected: garments and detections of the same images; see `precision_curves`.
    """
    by_label = average_precisions([instances(masks) for masks in truth], [instances(masks) for masks in detected])
    return float(np.mean(list(by_label.values()))) if by_label else None


def _instance(garment: LabelledMask | Detection) -> Instance:
    runs = coco_rle(garment.mask)
    left, top, width, height = map(float, rle.toBbox(runs))
    return Instance(
        label=garment.label if isinstance(garment, LabelledMask) else garment.class_name,
        score=garment.score or 0.0,
        size_wh=(garment.mask.shape[1], garment.mask.shape[0]),
        area_px=int(rle.area(runs)),
        runs=runs,
        box_xywh=(left, top, width, height),
    )


def _image(number: int, garments: Sequence[Instance]) -> dict[str, int]:
    width, height = garments[0].size_wh if garments else (1, 1)
    return {"id": number, "height": height, "width": width}


def _shape(instance: Instance) -> dict[str, Any]:
    return {"segmentation": instance.runs, "area": float(instance.area_px), "bbox": list(instance.box_xywh)}
