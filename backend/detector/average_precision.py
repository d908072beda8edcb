"""Average precision of masks and of the boxes around them: COCO's (Lin et al. 2014), by faster-coco-eval."""

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
from backend.regions.mask_runs import runs_of

logger = logging.getLogger(__name__)

# `float64 (10, 101)` in `[0, 1]`: IoU from 0.5 to 0.95, by recall from 0 to 1.
Precisions = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Instance:
    """One garment as COCO counts it.

    Attributes:
        size_wh: of its image, in pixels.
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
    """One image's garments, encoded once for however often they are counted."""
    return tuple(map(_instance, masks))


def precisions(
    truth: Sequence[Sequence[Instance]], found: Sequence[Sequence[Instance]], *, of: Literal["segm", "bbox"]
) -> dict[str, Precisions]:
    """The precision of each label that is in the truth, at each IoU and recall.

    Args:
        truth: the garments of each image; labels without any count for nothing.
        found: what was detected in the same images; masks have the truth's size.
        of: whether masks overlap (`segm`), or the boxes around them (`bbox`).

    Returns:
        The mean of all of them is a label's AP50-95, that of the first row its AP50.
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
        return {label: np.zeros((10, 101)) for label in labels}
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
    evaluation = COCOeval_faster(expected, expected.loadRes(results), of, print_function=logger.debug)
    evaluation.evaluate()
    evaluation.accumulate()
    # IoU, recall, label, size, most detections an image; of all sizes, with the most detections.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    return {label: precision[:, :, number] for number, label in enumerate(labels)}


def average_precisions(truth: Sequence[Sequence[Instance]], found: Sequence[Sequence[Instance]]) -> dict[str, float]:
    """Average precision of masks over IoU from 0.5 to 0.95, in `[0, 1]`, of each label that is in the truth.

    Args:
        truth, found: as `precisions` takes them.
    """
    return {label: float(one.mean()) for label, one in precisions(truth, found, of="segm").items()}


def mask_map(truth: Sequence[Sequence[LabelledMask]], found: Sequence[Sequence[Detection]]) -> float | None:
    """Mean average precision over labels and IoU from 0.5 to 0.95, in `[0, 1]`; None where the truth is empty.

    Args:
        truth, found: garments of the same images, as `precisions` counts them.
    """
    by_label = average_precisions([instances(ones) for ones in truth], [instances(ones) for ones in found])
    return float(np.mean(list(by_label.values()))) if by_label else None


def _instance(one: LabelledMask | Detection) -> Instance:
    runs = runs_of(one.mask)
    left, top, width, height = map(float, rle.toBbox(runs))
    return Instance(
        label=one.label if isinstance(one, LabelledMask) else one.class_name,
        score=one.score or 0.0,
        size_wh=(one.mask.shape[1], one.mask.shape[0]),
        area_px=int(rle.area(runs)),
        runs=runs,
        box_xywh=(left, top, width, height),
    )


def _image(number: int, ones: Sequence[Instance]) -> dict[str, int]:
    width, height = ones[0].size_wh if ones else (1, 1)
    return {"id": number, "height": height, "width": width}


def _area(one: Instance) -> dict[str, Any]:
    return {"segmentation": one.runs, "area": float(one.area_px), "bbox": list(one.box_xywh)}
