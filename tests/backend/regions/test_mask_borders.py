from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.domain import Mask
from backend.regions.mask_borders import bridge_parts, split_specks, trace, without_specks
from tests.support import shapes

NOISE = {f"noise {seed}": np.random.default_rng(seed).random((20, 31)) < 0.15 * seed for seed in range(1, 6)}
MASKS = sorted({**shapes(), **NOISE}.items())


def drawn(rows: str) -> Mask:
    """A mask from lines of `#` and `.`."""
    return np.array([[pixel == "#" for pixel in row] for row in rows.split()])


@pytest.mark.parametrize(("name", "mask"), MASKS)
def test_a_border_for_each_part_and_hole_with_its_area(name: str, mask: Mask) -> None:
    borders = trace(mask)
    parts, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    # Outside is one more, and 0 the mask itself.
    holes, _ = cv2.connectedComponents(np.pad(~mask, 1, constant_values=True).astype(np.uint8), connectivity=8)
    assert sum(border.area_px > 0 for border in borders) == parts - 1
    assert sum(border.area_px < 0 for border in borders) == holes - 2
    assert sum(border.area_px for border in borders) == np.count_nonzero(mask)


@pytest.mark.parametrize(("name", "mask"), MASKS)
def test_corners_are_a_closed_walk_along_pixel_edges_with_the_mask_on_the_right(name: str, mask: Mask) -> None:
    framed = np.pad(mask, 1)
    for border in trace(mask):
        corners = border.corners()
        steps = np.roll(corners, -1, axis=0) - corners
        assert (np.abs(steps).sum(axis=1) == 1).all()
        middles = corners + steps / 2
        right = np.floor(middles + steps[:, ::-1] * (-0.5, 0.5)).astype(int)
        left = np.floor(middles - steps[:, ::-1] * (-0.5, 0.5)).astype(int)
        assert framed[right[:, 1] + 1, right[:, 0] + 1].all()
        assert not framed[left[:, 1] + 1, left[:, 0] + 1].any()


def test_an_empty_mask_has_no_border() -> None:
    assert trace(np.zeros((4, 7), bool)) == []
    assert split_specks([], speck_px=9) == ([], [])


def test_specks_and_pinholes_go_and_what_lies_in_them() -> None:
    mask = np.zeros((60, 90), bool)
    mask[5:55, 5:55] = True
    clean = mask.copy()
    mask[20:23, 20:23] = False  # a pinhole of 9 pixels,
    mask[21, 21] = True  # with one in it
    mask[2, 80] = True  # a speck
    assert np.array_equal(without_specks(mask, speck_px=10), clean)
    assert np.array_equal(without_specks(mask, speck_px=0), mask)
    # A hole of 9 pixels is not less than 9; the pixel in it is.
    assert np.count_nonzero(without_specks(mask, speck_px=9)) == np.count_nonzero(clean) - 9


def test_a_part_of_a_small_mask_is_no_speck() -> None:
    mask = drawn("##...# ##...# ......")
    assert np.array_equal(without_specks(mask, speck_px=50), mask)


def test_bridges_join_all_parts_at_their_nearest() -> None:
    mask = np.zeros((40, 70), bool)
    mask[5:15, 5:15], mask[5:15, 25:35], mask[25:35, 50:60] = True, True, True
    whole = bridge_parts(mask, trace(mask))
    assert cv2.connectedComponents(whole.astype(np.uint8), connectivity=4)[0] == 2
    assert (whole | ~mask).all()
    assert np.count_nonzero(whole & ~mask) < 50
