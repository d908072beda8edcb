from __future__ import annotations

import hashlib

import numpy as np
import pytest

from backend.domain import LabelledMask
from training.dataset.sampling import copies, disagreement, hard_weight, repeat_factors


def strip(first: int, last: int, label: str = "saree") -> LabelledMask:
    """A mask of full columns, `bool (5, 30)`."""
    mask = np.zeros((5, 30), bool)
    mask[:, first:last] = True
    return LabelledMask(mask, label)


# What was shown, what was approved, and how far apart that is.
CASES = [
    ("nothing to do", [strip(0, 10)], [strip(0, 10)], 0.0),
    ("nothing there", [], [], 0.0),
    ("missed", [], [strip(0, 10)], 1.0),
    ("false", [strip(0, 10)], [], 1.0),
    ("wrong label", [strip(0, 10, "kurta")], [strip(0, 10)], 1.0),
    ("one of two missed", [strip(0, 10)], [strip(0, 10), strip(20, 30)], 1 - 1 / 1.5),
    ("border moved: IoU 8 of 10", [strip(0, 8)], [strip(0, 10)], 0.2),
    ("moved away: IoU a half is none", [strip(0, 5)], [strip(0, 10)], 1.0),
    ("drawn twice", [strip(0, 10), strip(0, 9)], [strip(0, 10)], 1 - 1 / 1.5),
]


@pytest.mark.parametrize(("shown", "approved", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_disagreement(shown: list[LabelledMask], approved: list[LabelledMask], expected: float) -> None:
    assert disagreement(shown, approved) == pytest.approx(expected)
    assert disagreement(approved, shown) == pytest.approx(expected)


def test_a_mask_of_another_size_is_of_another_image() -> None:
    other = LabelledMask(np.ones((9, 30), bool), "saree")
    assert disagreement([other], [strip(0, 10)]) == disagreement([strip(0, 10)], [other]) == 1.0
    assert disagreement([strip(0, 10), other], [strip(0, 10)]) == pytest.approx(1 - 1 / 1.5)


def test_large_masks_are_compared_as_well() -> None:
    masks = [np.zeros((2000, 1500), bool) for _ in range(2)]
    masks[0][200:1200, 100:1100] = masks[1][200:1200, 300:1300] = True
    shown, approved = ([LabelledMask(mask, "saree")] for mask in masks)
    assert disagreement(shown, approved) == pytest.approx(1 - 800 / 1200, abs=0.01)


@pytest.mark.parametrize(("disagreed", "weight"), [(None, 1.0), (0.0, 1.0), (0.5, 2.0), (1.0, 3.0)])
def test_hard_weight(disagreed: float | None, weight: float) -> None:
    assert hard_weight(disagreed, max_weight=3.0) == weight


def test_repeat_factors_are_those_of_lvis() -> None:
    images = {str(n): {"saree"} for n in range(99)} | {"rare": {"saree", "belt"}, "empty": set()}
    factors = repeat_factors(images, rare_share=0.1)
    assert factors["0"] == factors["empty"] == 1.0
    assert factors["rare"] == pytest.approx((0.1 / (1 / 101)) ** 0.5)
    assert set(repeat_factors(images, rare_share=0.0).values()) == {1.0}


@pytest.mark.parametrize("weight", [1.0, 1.25, 2.5, 3.0])
def test_copies_are_the_weight_on_average_and_always_the_same(weight: float) -> None:
    keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(4000)]
    counted = [copies(weight, key) for key in keys]
    assert np.mean(counted) == pytest.approx(weight, abs=0.03)
    assert set(counted) <= {int(weight), int(weight) + 1}
    assert counted == [copies(weight, key) for key in keys]
