from __future__ import annotations

import numpy as np

from backend.domain import Box, Point
from backend.segmenters.builtin.frames import SIZE_WH
from backend.segmenters.builtin.prompt_maps import CHANNELS, prompt_maps


def test_each_part_of_a_prompt_has_its_channel_and_its_place() -> None:
    found = np.full(SIZE_WH[::-1], 0.25, np.float32)
    points = (Point(10.5, 20.5), Point(50.5, 80.5, positive=False))
    positive, negative, box, last = prompt_maps(points, Box(5, 10, 30, 40), found)
    assert positive[20, 10] == 1 and positive[80, 50] == 0 and positive.sum() < 64
    assert negative[80, 50] == 1 and negative[20, 10] == 0
    assert box[10:40, 5:30].all() and box.sum() == 30 * 25
    assert (last == 0.25).all()


def test_no_prompt_is_empty() -> None:
    maps = prompt_maps((), None, None)
    assert maps.shape == (CHANNELS, *SIZE_WH[::-1]) and not maps.any()


def test_what_lies_outside_of_the_frame_is_not_drawn() -> None:
    outside = Box(-50, -50, -10, -10)
    assert not prompt_maps((Point(-30.0, -30.0), Point(1000.0, 1000.0)), outside, None).any()
