from __future__ import annotations

import numpy as np

from backend.domain import LabelledMask, Mask, Point
from backend.predict.recent_fixes import MOST, REMEMBERED_S, RecentFixes


def area(right: int) -> Mask:
    mask = np.zeros((7, 13), bool)
    mask[1:5, 2:right] = True
    return mask


SENT = LabelledMask(area(6), "saree", region_id="a")
FIRST, SECOND = (Point(8.0, 3.0),), (Point(3.0, 2.0, positive=False),)


class Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_an_accepted_answer_counts_until_label_studio_has_saved_it() -> None:
    clock = Clock()
    recent = RecentFixes(clock)
    assert np.array_equal(recent.current(1, SENT, FIRST), SENT.mask)
    recent.remember(1, SENT, FIRST, before=SENT.mask, after=area(9))
    clock.s += 4
    assert np.array_equal(recent.current(1, SENT, SECOND), area(9))
    # A second fix before Label Studio has saved the first.
    recent.remember(1, SENT, SECOND, before=area(9), after=area(11))
    # Which gets a further click while it is pending.
    assert np.array_equal(recent.current(1, SENT, (*SECOND, *FIRST)), area(9))
    assert np.array_equal(recent.current(1, SENT, FIRST), area(11))
    # Now it is saved: the region comes as it was accepted, or as the annotator changed it since.
    saved = LabelledMask(area(10), "saree", region_id="a")
    assert np.array_equal(recent.current(1, saved, FIRST), area(10))
    clock.s += REMEMBERED_S + 1
    assert np.array_equal(recent.current(1, SENT, FIRST), SENT.mask)


def test_a_pending_answer_is_given_anew_from_the_region_as_it_was() -> None:
    recent = RecentFixes()
    recent.remember(1, SENT, FIRST, before=SENT.mask, after=area(9))
    assert np.array_equal(recent.current(1, SENT, (*FIRST, *SECOND)), SENT.mask)


def test_other_tasks_and_other_regions_are_others() -> None:
    recent = RecentFixes()
    recent.remember(1, SENT, FIRST, before=SENT.mask, after=area(9))
    assert np.array_equal(recent.current(2, SENT, SECOND), SENT.mask)
    other = LabelledMask(area(6), "saree", region_id="b")
    assert np.array_equal(recent.current(1, other, SECOND), other.mask)


def test_only_so_many_are_kept() -> None:
    recent = RecentFixes()
    for task_id in range(MOST + 1):
        recent.remember(task_id, SENT, FIRST, before=SENT.mask, after=area(9))
    assert np.array_equal(recent.current(0, SENT, SECOND), SENT.mask)
    assert np.array_equal(recent.current(MOST, SENT, SECOND), area(9))
