"""Connected regions of a label are garments."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from training.metrics.pixel_metrics import LabelMap
from training.students.label_maps import garments_of

LABELS = ("kurta", "saree")


def probabilities_of(label_map: LabelMap, *, certain: float) -> npt.NDArray[np.float32]:
    """As certain of the map's label at each pixel, the rest evenly."""
    rest = (1 - certain) / 2
    return np.stack([np.where(label_map == number, certain, rest) for number in range(3)]).astype(np.float32)


def test_each_region_of_a_label_is_a_garment_with_its_mean_probability() -> None:
    label_map = np.zeros((40, 30), np.uint16)
    label_map[2:10, 3:8], label_map[20:30, 3:8], label_map[2:10, 8:20] = 1, 1, 2
    probabilities = probabilities_of(label_map, certain=0.6)
    probabilities[1, 20:30, 3:8] = 0.9
    found = garments_of(label_map, probabilities, LABELS)
    assert [garment.class_name for garment in found] == ["kurta", "kurta", "saree"]
    assert [garment.score for garment in found] == pytest.approx([0.9, 0.6, 0.6])
    assert [int(garment.mask.sum()) for garment in found] == [50, 40, 96]
    assert np.array_equal(found[2].mask, label_map == 2)


def test_pixels_that_touch_at_a_corner_are_connected() -> None:
    label_map = np.zeros((40, 30), np.uint16)
    label_map[2:10, 3:8], label_map[10:15, 8:12] = 1, 1
    (found,) = garments_of(label_map, probabilities_of(label_map, certain=0.7), LABELS)
    assert found.mask.sum() == 60


def test_a_speck_is_no_garment_and_background_has_none() -> None:
    label_map = np.zeros((100, 50), np.uint16)
    assert garments_of(label_map, probabilities_of(label_map, certain=0.8), LABELS) == ()
    label_map[5, 5:9] = 2
    assert garments_of(label_map, probabilities_of(label_map, certain=0.8), LABELS) == ()
    label_map[5, 5:10] = 2
    assert len(garments_of(label_map, probabilities_of(label_map, certain=0.8), LABELS)) == 1
