from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Image, Mask, Photo, Point, Prompt, Segment
from training.metrics.interactive import click_ious, iou, iou_at_click, next_click, number_of_clicks

HEIGHT, WIDTH = 40, 70


def rectangle(left: int, top: int, right: int, bottom: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


EMPTY, TRUTH = rectangle(0, 0, 0, 0), rectangle(10, 5, 41, 26)


@pytest.mark.parametrize(
    ("found", "click"),
    [
        (EMPTY, Point(25.5, 15.5)),  # nothing yet: the middle of the object
        (rectangle(10, 5, 41, 15), Point(25.5, 20.5)),  # its lower half is missed: 31 x 11, of which rows 15 to 25
        (rectangle(10, 5, 64, 26), Point(52.5, 15.5, positive=False)),  # something beside it is taken
        (rectangle(10, 5, 46, 20), Point(38.5, 22.5)),  # missed and false at once: the thicker of the two
    ],
)
def test_the_next_click_is_at_the_centre_of_the_largest_error(found: Mask, click: Point) -> None:
    made = next_click(TRUTH, found)
    error = (TRUTH & ~found) if click.positive else (found & ~TRUTH)
    assert made.positive == click.positive
    assert made.y == click.y
    assert error[int(made.y), int(made.x)]


def test_the_frame_of_the_picture_counts_as_border() -> None:
    assert next_click(~EMPTY, EMPTY).y == pytest.approx(HEIGHT / 2, abs=1)


def test_a_jittered_click_stays_well_inside_the_same_region_and_moves() -> None:
    truth = TRUTH | rectangle(50, 30, 54, 34)
    clicks = {next_click(truth, EMPTY, jitter=np.random.default_rng(seed)) for seed in range(20)}
    assert len(clicks) > 10
    for click in clicks:
        assert 15 <= click.x <= 36 and 10 <= click.y <= 21


def test_a_perfect_mask_has_no_next_click() -> None:
    with pytest.raises(ValueError, match="no error"):
        next_click(TRUTH, TRUTH)


class Columns:
    """Finds ten columns of the object more with every positive click; a click too many and it finds nothing."""

    name = "columns"

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        assert all(isinstance(point, Point) for point in prompt.points)
        mask = TRUTH & rectangle(0, 0, 10 + 10 * len(prompt.points), HEIGHT)
        return [Segment(mask=mask, score=0.5)] if len(prompt.points) < 4 else []


PICTURE = Image(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "k", "s")


def test_clicks_go_on_until_enough() -> None:
    ious = click_ious(Columns(), PICTURE, TRUTH, target_iou=0.6)
    assert ious == pytest.approx([10 / 31, 20 / 31])
    ious = click_ious(Columns(), PICTURE, TRUTH, min_clicks=5, max_clicks=5)
    assert ious == pytest.approx([10 / 31, 20 / 31, 30 / 31, 0, 0])


@pytest.mark.parametrize(
    ("ious", "wanted", "clicks"),
    [([0.9], 0.85, 1), ([0.2, 0.84, 0.85], 0.85, 3), ([0.2, 0.9, 0.1], 0.9, 2), ([0.1] * 20, 0.85, 20), ([], 0.85, 20)],
)
def test_number_of_clicks_counts_to_the_first_that_reaches(ious: list[float], wanted: float, clicks: int) -> None:
    assert number_of_clicks(ious, wanted) == clicks


def test_a_run_that_ended_early_keeps_its_last_iou() -> None:
    assert [iou_at_click([0.5, 0.9], click) for click in (1, 2, 5)] == [0.5, 0.9, 0.9]


def test_iou_of_empty_masks_is_one() -> None:
    assert iou(EMPTY, EMPTY) == 1 and iou(EMPTY, TRUTH) == 0
