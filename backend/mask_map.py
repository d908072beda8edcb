"""Mask mAP as COCO defines it (Lin et al. 2014), by faster-coco-eval."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle

from backend.domain import Detection, LabelledMask, Mask

logger = logging.getLogger(__name__)


def mask_map(truth: Sequence[Sequence[LabelledMask]], found: Sequence[Sequence[Detection]]) -> float | None:
    """Mean average precision over classes and IoU from 0.5 to 0.95, in `[0, 1]`; None where the truth is empty.

    Args:
        truth: the garments of each image; classes without any count for nothing.
        found: what was detected in the same images; masks have the truth's size.
    """
    labels = sorted({one.label for ones in truth for one in ones})
    if not labels:
        return None
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    annotations = [
        {"image_id": image, "category_id": numbers[one.label], "iscrowd": 0, **_area(one.mask)}
        for image, ones in enumerate(truth)
        for one in ones
    ]
    data = {
        "images": [_image(image, [*ones, *found[image]]) for image, ones in enumerate(truth)],
        "categories": [{"id": number, "name": label} for label, number in numbers.items()],
        "annotations": [{"id": number, **one} for number, one in enumerate(annotations, start=1)],
    }
    results = [
        {"image_id": image, "category_id": numbers[one.class_name], "score": one.score, **_area(one.mask)}
        for image, ones in enumerate(found)
        for one in ones
        if one.class_name in numbers
    ]
    if not results:
        return 0.0
    expected = COCO(data)
    evaluation = COCOeval_faster(expected, expected.loadRes(results), "segm", print_function=logger.debug)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def _image(number: int, masks: Sequence[LabelledMask | Detection]) -> dict[str, int]:
    height, width = masks[0].mask.shape if masks else (1, 1)
    return {"id": number, "height": height, "width": width}


def _area(mask: Mask) -> dict[str, Any]:
    return {
        "segmentation": rle.encode(np.asfortranarray(mask.view(np.uint8))),
        "area": float(np.count_nonzero(mask)),
        "bbox": [0.0, 0.0, float(mask.shape[1]), float(mask.shape[0])],
    }
