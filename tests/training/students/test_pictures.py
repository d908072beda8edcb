"""Images and truth as networks learn from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.training.students.conftest import drawn
from training.students.lesson import Lesson
from training.students.pictures import rounded_side, sample_of


@pytest.mark.parametrize(("side", "rounded"), [(64, 64), (65, 96), (1, 32), (640, 640)])
def test_a_side_is_whole_strides(side: int, rounded: int) -> None:
    assert rounded_side(side) == rounded


def test_a_sample_depends_on_its_seed_alone(lesson: Lesson) -> None:
    first, again, other = (sample_of(lesson.train[0], lesson.labels, side_px=64, seed=(seed, 0)) for seed in (3, 3, 4))
    assert np.array_equal(first.pixels, again.pixels) and np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.pixels, other.pixels)


def test_masks_move_with_the_picture(lesson: Lesson) -> None:
    for seed in range(20):
        sample = sample_of(lesson.train[0], lesson.labels, side_px=64, seed=(seed,))
        assert sample.pixels.shape == (64, 64, 3) and sample.pixels.dtype == np.uint8
        assert sample.masks.shape[1:] == (64, 64) == sample.label_map.shape
        assert len(sample.numbers) == len(sample.masks) and all(mask.any() for mask in sample.masks)
        # What the map shows lies in the mask of a garment of that label.
        for number in np.unique(sample.label_map[sample.label_map > 0]):
            of_label = np.logical_or.reduce(sample.masks[sample.numbers == number])
            assert of_label[sample.label_map == number].all()


def test_garments_without_a_label_of_the_lesson_are_left_out(tmp_path: Path) -> None:
    sample = sample_of(drawn(1, tmp_path), ["no such label"], side_px=64, seed=(0,))
    assert sample.masks.shape == (0, 64, 64) and not sample.label_map.any()
