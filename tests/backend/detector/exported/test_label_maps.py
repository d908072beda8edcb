"""Connected regions of a label are garments."""

from __future__ import annotations

import numpy as np
import pytest

from backend.detector.exported.label_maps import garments_of, likeliest_labels
from backend.detector.yolo11 import letterbox

LABELS = ("kurta", "saree")


def test_each_region_of_a_label_is_a_garment_with_its_mean_probability() -> None:
    label_map, probability = np.zeros((40, 30), np.uint16), np.full((40, 30), 0.6, np.float32)
    label_map[2:10, 3:8], label_map[20:30, 3:8], label_map[2:10, 8:20] = 1, 1, 2
    probability[20:30, 3:6], probability[20:30, 6:8] = 0.8, 0.95
    found = garments_of(label_map, probability, LABELS, min_score=0.1)
    assert [garment.class_name for garment in found] == ["kurta", "kurta", "saree"]
    assert [garment.score for garment in found] == pytest.approx([0.86, 0.6, 0.6])
    assert [int(garment.mask.sum()) for garment in found] == [50, 40, 96]
    assert np.array_equal(found[2].mask, label_map == 2)
    assert len(garments_of(label_map, probability, LABELS, min_score=0.7)) == 1


def test_pixels_that_touch_at_a_corner_are_connected() -> None:
    label_map = np.zeros((40, 30), np.uint16)
    label_map[2:10, 3:8], label_map[10:15, 8:12] = 1, 1
    (found,) = garments_of(label_map, np.full((40, 30), 0.7, np.float32), LABELS, min_score=0.1)
    assert found.mask.sum() == 60


def test_a_speck_is_no_garment_and_background_has_none() -> None:
    label_map, probability = np.zeros((100, 50), np.uint16), np.full((100, 50), 0.8, np.float32)
    assert garments_of(label_map, probability, LABELS, min_score=0.1) == ()
    label_map[5, 5:9] = 2
    assert garments_of(label_map, probability, LABELS, min_score=0.1) == ()
    label_map[5, 5:10] = 2
    assert len(garments_of(label_map, probability, LABELS, min_score=0.1)) == 1


@pytest.mark.parametrize("size_wh", [(70, 100), (140, 200)])
def test_the_likeliest_label_is_that_of_the_photographs_pixels(size_wh: tuple[int, int]) -> None:
    """The padding around it, which the network also answers, is left out; and it is enlarged as asked for."""
    boxed = letterbox(np.zeros((100, 70, 3), np.uint8), side_px=100)
    # Of 128 x 96 pixels, with 14 above the photograph and 13 to its left.
    probabilities = np.zeros((3, 128, 96), np.float32)
    probabilities[0], probabilities[2, :14], probabilities[2, :, :13] = 0.4, 1.0, 1.0
    probabilities[1, 14 + 10 : 14 + 20, 13 + 30 : 13 + 60] = 0.6
    numbers, probability = likeliest_labels(probabilities, boxed, size_wh=size_wh)
    assert numbers.shape == probability.shape == size_wh[::-1]
    factor = size_wh[0] // 70
    expected = np.zeros(size_wh[::-1], np.uint16)
    expected[10 * factor : 20 * factor, 30 * factor : 60 * factor] = 1
    assert np.count_nonzero(numbers != expected) <= (0 if factor == 1 else 2 * 2 * (20 + 60))
    assert probability[15 * factor, 45 * factor] == np.float32(0.6) and probability[0, 0] == np.float32(0.4)
