"""Mask mAP, as COCO counts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from backend.detector.average_precision import (
    Instance,
    LabelMatches,
    average_precisions,
    instances,
    mask_map,
    match_instances,
)
from backend.domain import Detection, LabelledMask, Mask


def test_mask_map_counts_as_coco_does() -> None:
    height, width = 40, 70
    left, right = np.zeros((height, width), bool), np.zeros((height, width), bool)
    left[5:30, 5:25], right[5:30, 40:60] = True, True
    truth = [[LabelledMask(left, "saree"), LabelledMask(right, "blouse")], []]
    exact = [[Detection(left, "saree", 0.9), Detection(right, "blouse", 0.8)], []]
    assert mask_map(truth, exact) == pytest.approx(1.0)
    assert mask_map(truth, [exact[0][:1], []]) == pytest.approx(0.5)
    # A false find that is less sure than the right one costs nothing, one that is surer half of that class.
    assert mask_map(truth, [[*exact[0], Detection(right, "saree", 0.1)], []]) == pytest.approx(1.0)
    assert mask_map(truth, [[*exact[0], Detection(right, "saree", 0.95)], []]) == pytest.approx(0.75)
    assert mask_map(truth, [[], []]) == 0.0
    assert mask_map([[], []], exact) is None


def test_each_label_counts_by_itself() -> None:
    left, right = np.zeros((40, 70), bool), np.zeros((40, 70), bool)
    left[5:30, 5:25], right[5:30, 40:60] = True, True
    # IoU 20 / 25: right at six of the ten thresholds, 0.5 to 0.8 (which counts) by steps of 0.05: seven.
    shorter = right.copy()
    shorter[25:] = False
    truth = [instances([LabelledMask(left, "saree"), LabelledMask(right, "blouse")])]
    found = [instances([Detection(left, "saree", 0.9), Detection(shorter, "blouse", 0.8)])]
    assert average_precisions(truth, found) == pytest.approx({"blouse": 0.7, "saree": 1.0})
    assert average_precisions(truth, [instances([Detection(left, "kurta", 0.9)])]) == {"blouse": 0.0, "saree": 0.0}


def noisy_images(number: int) -> tuple[list[list[LabelledMask]], list[list[Detection]]]:
    """Squares of two labels, several in an image and some overlapping; finds that are moved, missed or doubled."""
    rng = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(number):
        squares = [
            (int(rng.integers(0, 60)), int(rng.integers(0, 20)), str(rng.choice(["saree", "blouse"])))
            for _ in range(rng.integers(0, 5))
        ]
        truth.append([LabelledMask(square(left, top), label) for left, top, label in squares])
        moved = [(left + int(rng.integers(0, 6)), top, label) for left, top, label in squares * 2]
        found.append(
            [Detection(square(left, top), label, rng.random()) for left, top, label in moved if rng.random() < 0.6]
        )
    return truth, found


def square(left: int, top: int) -> Mask:
    mask = np.zeros((48, 90), bool)
    mask[top : top + 20, left : left + 20] = True
    return mask


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_matches_count_as_faster_coco_eval_counts(iou_type: Literal["segm", "bbox"]) -> None:
    truth, found = ([instances(masks) for masks in images] for images in noisy_images(40))
    matches = match_instances(truth, found, iou_type=iou_type)
    draws = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), 5)
    resampled = np.stack([matches[label].average_precisions(draws) for label in ("blouse", "saree")])
    for number, draw in enumerate([np.ones(40, np.int64), *draws]):
        chosen = np.repeat(np.arange(40), draw)
        expected = by_faster_coco_eval([truth[image] for image in chosen], [found[image] for image in chosen], iou_type)
        if number:
            assert resampled[:, number - 1] == pytest.approx(expected.mean(axis=(0, 1)), abs=0.005)
        else:
            for column, label in enumerate(("blouse", "saree")):
                assert matches[label].precisions() == pytest.approx(expected[:, :, column], abs=1e-9)
    # The noise is such that it says something.
    assert 0.1 < resampled.min() and resampled.max() < 0.9


def test_draws_count_as_each_would_by_itself() -> None:
    truth, found = ([instances(masks) for masks in images] for images in noisy_images(12))
    matches = match_instances(truth, found, iou_type="segm")["saree"]
    # Among them one that draws no saree.
    draws = np.array([*np.random.default_rng(2).multinomial(12, np.full(12, 1 / 12), 20), matches.garments == 0])
    expected = [by_counting(matches, draw) for draw in draws]
    assert matches.average_precisions(draws) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert np.isnan(expected[-1]) and 0.1 < min(expected[:-1]) < max(expected[:-1]) < 0.9


def by_counting(matches: LabelMatches, draw: npt.NDArray[np.int64]) -> float:
    """Returns the average precision in one draw, detection by detection and recall by recall."""
    garments = int(draw @ matches.garments)
    if not garments:
        return float("nan")
    highest = []
    for right in matches.right:
        found, points = 0, []
        for place, image in enumerate(matches.images):
            found += int(draw[image]) if place in right else 0
            points.append((found, found / max(int(draw[matches.images[: place + 1]].sum()), 1)))
        for percent in range(101):
            highest.append(
                max((precision for count, precision in points if 100 * count >= percent * garments), default=0)
            )
    return sum(highest) / len(highest)


def by_faster_coco_eval(
    truth: Sequence[Sequence[Instance]], found: Sequence[Sequence[Instance]], iou_type: str
) -> npt.NDArray[np.float64]:
    """Returns the precision by IoU, recall and label: `float64 (10, 101, 2)`."""

    def rows(images: Sequence[Sequence[Instance]]) -> list[dict[str, Any]]:
        return [
            {
                "id": number,
                "image_id": image,
                "category_id": 1 + (instance.label == "saree"),
                "iscrowd": 0,
                "score": instance.score,
                "segmentation": instance.runs,
                "area": float(instance.area_px),
                "bbox": list(instance.box_xywh),
            }
            for number, (image, instance) in enumerate(
                ((image, instance) for image, instances in enumerate(images) for instance in instances), start=1
            )
        ]

    pictures = [{"id": image, "height": 48, "width": 90} for image in range(len(truth))]
    labels = [{"id": 1, "name": "blouse"}, {"id": 2, "name": "saree"}]
    coco = COCO({"images": pictures, "categories": labels, "annotations": rows(truth)})
    evaluation = COCOeval_faster(coco, coco.loadRes(rows(found)), iou_type, print_function=str)
    evaluation.evaluate()
    evaluation.accumulate()
    return np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
