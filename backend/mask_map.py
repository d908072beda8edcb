"""Mask mAP as COCO defines it (Lin et al. 2014), by faster-coco-eval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle

from backend.domain import Detection, LabelledMask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Instance:
    """One garment as COCO counts it.

    Attributes:
        size_wh: of its image, in pixels.
        runs: its mask, run-length encoded.
        score: confidence in `[0, 1]`; 0 where a person drew it.
    """

    label: str
    score: float
    size_wh: tuple[int, int]
    area_px: int
    runs: dict[str, Any]


def instances(masks: Sequence[LabelledMask | Detection]) -> tuple[Instance, ...]:
    """One image's garments, encoded once for however often they are counted."""
    return tuple(
        Instance(
            one.label if isinstance(one, LabelledMask) else one.class_name,
            one.score or 0.0,
            (one.mask.shape[1], one.mask.shape[0]),
            int(np.count_nonzero(one.mask)),
            rle.encode(np.asfortranarray(one.mask.view(np.uint8))),
        )
        for one in masks
    )


def average_precisions(truth: Sequence[Sequence[Instance]], found: Sequence[Sequence[Instance]]) -> dict[str, float]:
    """Average precision over IoU from 0.5 to 0.95, in `[0, 1]`, of each label that is in the truth.

    Args:
        truth: the garments of each image; labels without any count for nothing.
        found: what was detected in the same images; masks have the truth's size.
    """
    labels = sorted({one.label for ones in truth for one in ones})
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    results = [
        {"image_id": image, "category_id": numbers[one.label], "score": one.score, **_area(one)}
        for image, ones in enumerate(found)
        for one in ones
        if one.label in numbers
    ]
    if not results:
        return dict.fromkeys(labels, 0.0)
    annotations = [
        {"image_id": image, "category_id": numbers[one.label], "iscrowd": 0, **_area(one)}
        for image, ones in enumerate(truth)
        for one in ones
    ]
    data = {
        "images": [_image(image, [*ones, *found[image]]) for image, ones in enumerate(truth)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, start=1)],
    }
    expected = COCO(data)
    evaluation = COCOeval_faster(expected, expected.loadRes(results), "segm", print_function=logger.debug)
    evaluation.evaluate()
    evaluation.accumulate()
    # IoU, recall, label, size, most detections an image; of all sizes, with the most detections.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    return {label: float(precision[:, :, number].mean()) for number, label in enumerate(labels)}


def mask_map(truth: Sequence[Sequence[LabelledMask]], found: Sequence[Sequence[Detection]]) -> float | None:
    """Mean average precision over labels and IoU from 0.5 to 0.95, in `[0, 1]`; None where the truth is empty.

    Args:
        truth, found: as `average_precisions` takes them.
    """
    by_label = average_precisions([instances(ones) for ones in truth], [instances(ones) for ones in found])
    return float(np.mean(list(by_label.values()))) if by_label else None


def _image(number: int, ones: Sequence[Instance]) -> dict[str, int]:
    width, height = ones[0].size_wh if ones else (1, 1)
    return {"id": number, "height": height, "width": width}


def _area(one: Instance) -> dict[str, Any]:
    return {"segmentation": one.runs, "area": float(one.area_px), "bbox": [0.0, 0.0, *map(float, one.size_wh)]}
