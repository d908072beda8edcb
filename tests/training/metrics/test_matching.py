"""Which finds are which regions."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import LabelledMask
from training.metrics.matching import MAX_LABELS, OTHER, agreement, confusion, garment_ious, pairs


def garment(label: str, left: int, right: int) -> LabelledMask:
    """Columns from `left` to `right` of an image that is not square."""
    mask = np.zeros((30, 100), bool)
    mask[5:25, left:right] = True
    return LabelledMask(mask, label)


# What was approved, what was found, and the image's score.
SCORES = [
    ([], [], 1.0),
    ([garment("saree", 0, 40)], [garment("saree", 0, 40)], 1.0),
    # Missed, and false.
    ([garment("saree", 0, 40)], [], 0.0),
    ([], [garment("saree", 0, 40)], 0.0),
    # The right place under another label: one missed, one false.
    ([garment("saree", 0, 40)], [garment("kurta", 0, 40)], 0.0),
    # IoU 0.8, and one of two missed.
    ([garment("saree", 0, 40), garment("kurta", 60, 80)], [garment("saree", 0, 32)], 0.4),
    # Two finds of one garment: the better counts, the other is false.
    ([garment("saree", 0, 40)], [garment("saree", 0, 32), garment("saree", 0, 40)], 0.5),
    # IoU 0.4: no pair.
    ([garment("saree", 0, 40)], [garment("saree", 0, 16)], 0.0),
]


@pytest.mark.parametrize(("truth", "found", "score"), SCORES)
def test_an_image_scores_what_its_garments_do(
    truth: list[LabelledMask], found: list[LabelledMask], score: float
) -> None:
    assert agreement(truth, found) == pytest.approx(score)


def test_garments_of_another_image_are_missed() -> None:
    other = LabelledMask(np.ones((9, 100), bool), "saree")
    assert garment_ious([garment("saree", 0, 40), other], [garment("saree", 0, 40)]) == [1.0, 0.0]
    assert garment_ious([], []) == []


def test_the_best_fit_is_paired_first() -> None:
    overlaps = np.array([[0.6, 0.9], [0.55, 0.8]])
    assert [(pair.region, pair.detection, pair.iou) for pair in pairs(overlaps)] == [(0, 1, 0.9), (1, 0, 0.55)]
    assert pairs(np.zeros((2, 0))) == []


def test_confusion_counts_each_garment_once() -> None:
    saree, kurta = garment("saree", 0, 40), garment("kurta", 60, 80)
    counted = confusion(
        [
            ([saree, kurta], [garment("saree", 0, 40), garment("saree", 60, 80)]),  # a kurta taken for a saree
            ([saree], []),  # missed
            ([], [garment("kurta", 60, 80)]),  # nothing there
        ]
    )
    assert counted.labels == ("saree", "kurta")
    assert counted.counts.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_rare_labels_are_counted_together() -> None:
    nothing: list[LabelledMask] = []
    common = [([garment(f"label {number}", 0, 40)] * 2, nothing) for number in range(MAX_LABELS - 1)]
    rare = [([garment(f"rare {number}", 0, 40)], [garment(f"rare {number}", 0, 40)]) for number in range(3)]
    counted = confusion([*common, *rare])
    assert len(counted.labels) == MAX_LABELS and counted.labels[-1] == OTHER
    assert counted.counts[-2, -2] == 3 and counted.counts[:-2, -1].tolist() == [2] * (MAX_LABELS - 1)
