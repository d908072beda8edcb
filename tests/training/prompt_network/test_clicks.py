from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Box, Point
from training.prompt_network.clicks import Clicks, corrected, first_prompt

SIZE_WH = (64, 96)
TRUTH = np.zeros((96, 64), bool)
TRUTH[20:60, 10:40] = True


def test_the_network_sees_each_part_of_a_prompt_in_its_place() -> None:
    found = np.full((96, 64), 0.25, np.float32)
    clicks = Clicks((Point(10.5, 20.5), Point(50.5, 80.5, positive=False)), Box(5, 10, 30, 40), found)
    positive, negative, box, last = clicks.maps(SIZE_WH)
    assert positive[20, 10] == 1 and positive[80, 50] == 0 and positive.sum() < 64
    assert negative[80, 50] == 1 and negative[20, 10] == 0
    assert box[10:40, 5:30].all() and box.sum() == 30 * 25
    assert (last == 0.25).all()
    assert not Clicks().maps(SIZE_WH).any()


def test_first_prompts_are_clicks_on_the_garment_or_boxes_around_it() -> None:
    prompts = [first_prompt(TRUTH, np.random.default_rng(seed)) for seed in range(60)]
    boxes = [prompt.box for prompt in prompts if prompt.box is not None]
    assert 3 < len(boxes) < 30
    for box in boxes:
        assert (box.x_min, box.y_min, box.x_max, box.y_max) == pytest.approx((10, 20, 40, 60), abs=8)
    for prompt in prompts:
        for point in prompt.points:
            assert point.positive and TRUTH[int(point.y), int(point.x)]


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
