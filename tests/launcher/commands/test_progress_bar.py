"""Bars of loops, also of those that an error leaves."""

from __future__ import annotations

import gc
import io
import threading

import pytest
from rich.console import Console

from backend.queues.comparisons import StudentJob
from launcher.commands.progress_bar import bars, show_students


def test_loops_have_a_bar_each() -> None:
    told = io.StringIO()
    with bars(Console(file=told, width=100)) as shown:
        assert list(shown.track(range(3), "Exporting")) == [0, 1, 2]
        assert list(shown.track(iter("ab"), "Comparing", total=4)) == ["a", "b"]
    lines = [line.split() for line in told.getvalue().splitlines()]
    assert [(line[0], line[2]) for line in lines] == [("Exporting", "100%"), ("Comparing", "50%")]


def test_an_error_leaves_nothing_running() -> None:
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError), bars(Console(file=io.StringIO())) as shown:
        for number in shown.track(range(3), "Exporting"):
            1 / number
    gc.collect()
    assert set(threading.enumerate()) <= before


def test_students_have_a_bar_each_until_none_waits_and_those_that_failed_come_back() -> None:
    told, epoch = io.StringIO(), {"epoch": 2, "epochs": 5, "seconds_left": 30.0}
    states = iter(
        [
            [StudentJob("one", True, True, epoch, ""), StudentJob("two", True, False, {}, "")],
            # Redis has forgotten the first.
            [StudentJob("two", False, False, epoch, "No weights.")],
        ]
    )
    failed = show_students(lambda: next(states), ["one", "two"], Console(file=told, width=100))
    assert failed == {"two": "No weights."}
    lines = [" ".join(line.split()) for line in told.getvalue().splitlines()]
    assert lines[-2].startswith("one") and lines[-2].endswith("ended")
    assert lines[-1].startswith("two") and lines[-1].endswith("failed")
