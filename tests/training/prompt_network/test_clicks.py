from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Point
from tests.support import iou
from training.prompt_network.clicks import Clicks, corrected, first_prompt

TRUTH = np.zeros((96, 64), bool)
TRUTH[20:60, 10:40] = True


def test_first_prompts_are_clicks_on_the_garment_boxes_around_it_or_masks_of_it() -> None:
    prompts = [first_prompt(TRUTH, np.random.default_rng(seed)) for seed in range(60)]
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    masks = [prompt.found for prompt in prompts if prompt.found is not None]
    assert 8 < len(boxes) < 30 and 6 < len(masks) < 25
    assert all((prompt.found is None) != (not prompt.points and prompt.box is None) for prompt in prompts)
    for box in boxes:
        assert (box.x_min, box.y_min, box.x_max, box.y_max) == pytest.approx((10, 20, 40, 60), abs=8)
    for prompt in prompts:
        for point in prompt.points:
            assert point.positive and TRUTH[int(point.y), int(point.x)]
    # As wrong as a detector's: none is right, and most are nearly right.
    ious = [iou(found > 0.5, TRUTH) for found in masks]
    assert 0.5 < np.median(ious) < 0.95 and max(ious) <= 1 and np.std(ious) > 0.02


def test_a_correction_is_one_click_where_the_answer_is_wrong() -> None:
    before = Clicks((Point(20.0, 30.0),))
    too_much = TRUTH.copy()
    too_much[60:90] = True
    after = corrected(before, TRUTH, too_much.astype(np.float32), np.random.default_rng(0))
    assert after.points[:-1] == before.points
    assert not after.points[-1].positive and after.points[-1].y >= 60
    assert after.found is not None and np.array_equal(after.found > 0.5, too_much)


def test_nothing_wrong_needs_no_click() -> None:
    assert corrected(Clicks(), TRUTH, TRUTH.astype(np.float32), np.random.default_rng(0)).points == ()
