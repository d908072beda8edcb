from __future__ import annotations

import pytest

from backend.errors import DatasetError
from benchmarks.flywheel.prices import Effort, Prices, Reviewed, all_by_hand, effort, read_prices, reviewed, total
from benchmarks.flywheel.work import TARGET_IOU, Outlined, Work
from tests.benchmarks.flywheel.blocks import outlined

LOOK, CHANGE = 1.35, 1.1 + 0.2 + 0.2
IMAGE = LOOK + 2 * 0.2
# Besides the clicks: the label's key, and the tick.
ONCE = 0.2 + 1.1 + 0.2
# Point, click, wait, look.
CLICK = 1.1 + 0.2 + 0.5 + LOOK

# garments, regions of no garment, seconds besides the image itself
EFFORTS: list[tuple[list[Outlined], int, float]] = [
    ([], 0, 0),
    ([outlined(shown=0.95)], 0, LOOK),
    ([outlined(shown=0.95, relabelled=True)], 0, LOOK + CHANGE),
    ([outlined(shown=0.95)], 2, 3 * LOOK + 2 * CHANGE),
    ([outlined(0.8, 0.9)], 0, ONCE + 2 * CLICK),
    # Ctrl and Alt are held for each
    ([outlined(0.8, 0.9, modifiers=2)], 0, ONCE + 2 * (CLICK + 0.4)),
    ([outlined(0.92, shown=0.7)], 0, LOOK + ONCE + CLICK),
    # the shown region is deleted, and a new one accepted
    ([outlined(0.92, shown=0.7, replaced=True)], 0, LOOK + CHANGE + ONCE + CLICK),
    ([outlined(*[0.5] * 6)], 0, ONCE + 6 * CLICK + 60),
    ([outlined(*[0.5] * 6, shown=0.6)], 0, LOOK + CHANGE + ONCE + 6 * CLICK + 60),
]


@pytest.mark.parametrize(("garments", "deleted", "seconds"), EFFORTS)
def test_an_image_takes_the_sum_of_its_acts(garments: list[Outlined], deleted: int, seconds: float) -> None:
    found = effort(garments, deleted=deleted, target_iou=TARGET_IOU, prices=Prices())
    assert found.seconds == pytest.approx(IMAGE + seconds)
    assert found.garments == len(garments)
    assert found.wait_s == 0.5 * found.prompts


RIGHT, WRONG = [outlined(shown=0.95)], [outlined(0.92, shown=0.7)]
# garments, regions of no garment, whether all is right
ON_A_SHEET: list[tuple[list[Outlined], int, bool]] = [
    (RIGHT, 0, True),
    (WRONG, 0, False),
    ([outlined(shown=0.95, relabelled=True)], 0, False),
    # a region of nothing, and a garment that is missing
    (RIGHT, 1, False),
    ([*RIGHT, outlined(0.95)], 0, False),
]


@pytest.mark.parametrize(("garments", "deleted", "is_right"), ON_A_SHEET)
def test_a_glance_approves_what_is_right(garments: list[Outlined], deleted: int, is_right: bool) -> None:
    work, prices = Work(1, tuple(garments), (), deleted), Prices(overlooked=0)
    opened = effort(garments, deleted=deleted, target_iou=TARGET_IOU, prices=prices).seconds
    found = reviewed([work], target_iou=TARGET_IOU, prices=prices)
    assert (found.approved, found.wrong) == (is_right, 0)
    assert found.seconds == pytest.approx(LOOK + 0.2 / 12 + (0 if is_right else 0.4 + opened))


def test_some_that_are_wrong_are_overlooked() -> None:
    works = [Work(number, tuple(garments), (), 0) for number, garments in enumerate([RIGHT, WRONG])]
    found = reviewed(works, target_iou=TARGET_IOU, prices=Prices(overlooked=0.1))
    opened = effort(WRONG, deleted=0, target_iou=TARGET_IOU, prices=Prices()).seconds
    assert (found.approved, found.wrong) == (1.1, 0.1)
    assert found.seconds == pytest.approx(2 * (LOOK + 0.2 / 12) + 0.9 * (0.4 + opened))


def test_an_image_without_regions_is_on_no_sheet() -> None:
    work = Work(1, (outlined(0.95),), (), deleted=0)
    opened = effort(work.garments, deleted=0, target_iou=TARGET_IOU, prices=Prices())
    assert reviewed([work], target_iou=TARGET_IOU, prices=Prices()) == Reviewed(seconds=opened.seconds)


def test_by_hand_no_model_is_asked() -> None:
    assert all_by_hand(3, Prices()) == Effort(seconds=IMAGE + 180, by_hand=3)


def test_efforts_add_up() -> None:
    one = effort([outlined(0.95), outlined(shown=0.95)], deleted=1, target_iou=TARGET_IOU, prices=Prices())
    both = total([one, one])
    assert (both.drawn, both.kept, both.deleted, both.prompts) == (2, 2, 2, 2)
    assert both.seconds == pytest.approx(2 * one.seconds)
    assert total([]) == Effort()


def test_prices_can_be_set() -> None:
    assert read_prices([]) == Prices()
    assert read_prices(["look=1", "by_hand=45.5"]) == Prices(look=1, by_hand=45.5)
    for wrong in ("think=1", "look", "look=soon"):
        with pytest.raises(DatasetError, match="The names are key, point, click, look, by_hand, overlooked"):
            read_prices([wrong])
