"""Bars of loops, also of those that an error leaves."""

from __future__ import annotations

import gc
import io
import threading

import pytest
from rich.console import Console

from launcher.commands.progress_bar import bars


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
    assert set(threading.enumerate()) == before
