"""Mask mAP, as COCO counts it."""

from __future__ import annotations

import numpy as np
import pytest

from backend.detector.average_precision import average_precisions, instances, mask_map
from backend.domain import Detection, LabelledMask


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
