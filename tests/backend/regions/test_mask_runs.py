"""Masks as COCO's runs: the same bytes as the library's own, and back."""

import numpy as np
import pytest
from faster_coco_eval import mask as rle

from backend.domain import Mask
from backend.regions.mask_runs import coco_rle, mask_of
from label_studio_config.demo.figures import draw_figure


def corner(rows: slice, columns: slice) -> Mask:
    mask = np.zeros((4, 7), bool)
    mask[rows, columns] = True
    return mask


MASKS = {
    "nothing": np.zeros((4, 7), bool),
    "everything": np.ones((4, 7), bool),
    "one pixel": np.ones((1, 1), bool),
    "first pixel": corner(slice(1), slice(1)),
    "last pixel": corner(slice(3, 4), slice(6, 7)),
    # Runs of adjoining columns become one.
    "whole columns": corner(slice(4), slice(2, 4)),
    "all but the first row": corner(slice(1, 4), slice(7)),
    "Fortran's order": np.asfortranarray(corner(slice(1, 3), slice(2, 6))),
    "every second column": corner(slice(1, 3), slice(0, 7))[:, ::2],
}


@pytest.mark.parametrize("name", MASKS)
def test_the_runs_are_the_librarys_own(name: str) -> None:
    mask = MASKS[name]
    assert coco_rle(mask) == rle.encode(np.asfortranarray(mask.view(np.uint8)))
    assert np.array_equal(mask_of(coco_rle(mask)), mask) and mask_of(coco_rle(mask)).dtype == bool


def test_so_are_those_of_masks_by_chance_and_of_garments() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random(tuple(rng.integers(1, 40, 2))) < share for share in (0.02, 0.5, 0.98) for _ in range(200)]
    masks += [instance.mask for seed in range(5) for instance in draw_figure(seed).instances]
    for mask in masks:
        runs = rle.encode(np.asfortranarray(mask.view(np.uint8)))
        assert coco_rle(mask) == runs and np.array_equal(mask_of(runs), mask)
