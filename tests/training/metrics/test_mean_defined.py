from __future__ import annotations

import pytest

from training.metrics.mean_defined import mean_defined


def test_what_is_not_defined_does_not_count() -> None:
    assert mean_defined([0.2, None, 0.4, 0.0]) == pytest.approx(0.2)


def test_of_nothing_there_is_no_mean() -> None:
    assert mean_defined([None]) is None and mean_defined([]) is None
