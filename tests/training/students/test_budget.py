"""Minutes of training alone, or epochs."""

from __future__ import annotations

import pytest

from training.students.budget import UNKNOWN_EPOCHS, Budget, Clock


@pytest.mark.parametrize(
    ("minutes", "epochs"),
    [(None, None), (1.0, 2), (0.0, None), (-1.0, None), (None, 0)],
)
def test_a_budget_is_minutes_or_epochs_and_more_than_nothing(minutes: float | None, epochs: int | None) -> None:
    with pytest.raises(ValueError, match="A budget is"):
        Budget(minutes, epochs)


def test_a_budget_is_said_in_words() -> None:
    assert [str(Budget(epochs=1)), str(Budget(epochs=50))] == ["1 epoch", "50 epochs"]
    assert [str(Budget(minutes=1)), str(Budget(minutes=2.5))] == ["1 minute of training", "2.5 minutes of training"]


def test_epochs_are_used_up_by_epochs() -> None:
    clock = Clock(Budget(epochs=4), seconds=100)
    assert (clock.progress(0), clock.progress(1), clock.progress(4)) == (0, 0.25, 1)
    assert clock.expected_epochs(1) == 4
    assert clock.seconds_left(1) == 300


def test_minutes_are_used_up_by_seconds_of_training() -> None:
    clock = Clock(Budget(minutes=5), seconds=100)
    assert clock.progress(0) == pytest.approx(1 / 3)
    # Two and a half epochs in a third of the time.
    assert clock.expected_epochs(2.5) == 8
    assert clock.seconds_left(2.5) == pytest.approx(200)
    assert Clock(Budget(minutes=5)).expected_epochs(0) == UNKNOWN_EPOCHS


def test_only_what_is_measured_counts() -> None:
    clock = Clock(Budget(minutes=5), seconds=7)
    assert clock.seconds == 7
    with clock.running():
        clock.start()
        assert clock.seconds > 7
    measured = clock.seconds
    assert clock.seconds == measured > 7
