from __future__ import annotations

from itertools import pairwise

import pytest

from training.finetuning.schedule import MIN_EPOCHS, Schedule, plan_schedule

UPDATES, BATCH = 2000, 8


def plan(drawn: int, *, max_epochs: int = 10_000) -> Schedule:
    return plan_schedule(drawn, batch=BATCH, updates=UPDATES, max_epochs=max_epochs)


def test_few_images_get_as_many_updates_as_many() -> None:
    """Any number of images, and any mean weight of hard examples, which makes an epoch longer: no cliff anywhere."""
    counts = [plan(drawn).updates for drawn in range(1, 10_000)]
    assert all(count >= UPDATES for count in counts)
    assert all(abs(after - before) <= 0.06 * before for before, after in pairwise(counts))
    # Until an epoch is so long that MIN_EPOCHS of them are more.
    enough_images = UPDATES * BATCH // MIN_EPOCHS
    assert all(count <= UPDATES * (1 + 1 / MIN_EPOCHS) for count in counts[:enough_images])
    assert all(
        plan(drawn).updates == pytest.approx(MIN_EPOCHS * drawn / BATCH, rel=0.06)
        for drawn in range(enough_images, 100_000, 997)
    )


@pytest.mark.parametrize("weight", [1.0, 1.4, 2.8, 3.0])
def test_around_500_images_nothing_changes_whatever_their_weights(weight: float) -> None:
    counts = [plan(round(weight * images)).updates for images in (499, 500, 501)]
    assert max(counts) <= 1.06 * min(counts)


def test_its_parts_are_shares_of_it() -> None:
    schedule = plan(267)
    assert (schedule.epochs, schedule.steps, schedule.updates) == (59, 34, 2006)
    assert schedule.epochs_without_mosaic == 9
    assert schedule.warmup_epochs == pytest.approx(2.95)
    short = plan(267, max_epochs=1)
    assert (short.epochs, short.epochs_without_mosaic) == (1, 0)
    assert plan(0).steps == 1
