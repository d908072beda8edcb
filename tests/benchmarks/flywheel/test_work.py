from __future__ import annotations

import pytest

from benchmarks.flywheel.work import LOWER_TARGET_IOU, TARGET_IOU, Outlined
from tests.benchmarks.flywheel.blocks import outlined

# how a garment was outlined; clicks and outcome for IoU 0.9; the same for 0.85
OUTLINED: list[tuple[Outlined, int, str, int, str]] = [
    # right as it was shown
    (outlined(shown=0.93), 0, "kept", 0, "kept"),
    # right for the less exacting
    (outlined(0.92, shown=0.87), 1, "fixed", 0, "kept"),
    (outlined(0.7, 0.86, 0.91, shown=0.6), 3, "fixed", 2, "fixed"),
    # from nothing
    (outlined(0.88, 0.95), 2, "drawn", 1, "drawn"),
    # the clicks did not join the region that was shown
    (outlined(0.95, shown=0.6, replaced=True), 1, "drawn", 1, "drawn"),
    # never right; right for the less exacting, though worse again later
    (outlined(*[0.5] * 6), 6, "by hand", 6, "by hand"),
    (outlined(0.5, 0.86, 0.8, 0.8, 0.8, 0.8, shown=0.6), 6, "by hand", 2, "fixed"),
]


@pytest.mark.parametrize(("garment", "clicks", "outcome", "fewer", "other"), OUTLINED)
def test_one_run_of_clicks_tells_what_each_target_needs(
    garment: Outlined, clicks: int, outcome: str, fewer: int, other: str
) -> None:
    assert (len(garment.clicks_until(TARGET_IOU)), garment.outcome(TARGET_IOU)) == (clicks, outcome)
    assert (len(garment.clicks_until(LOWER_TARGET_IOU)), garment.outcome(LOWER_TARGET_IOU)) == (fewer, other)
