from __future__ import annotations

import pytest

from benchmarks.parts.long.promotion import promoted_shares

TRIALS = 80
# Of 80 trials a share of 10 or 20 % varies by this much (standard deviation).
CHANCE = 0.045


@pytest.mark.slow
def test_a_worse_model_is_seldom_promoted_and_a_better_one_seldom_refused() -> None:
    worse, worse_by_point = promoted_shares(40, -0.03, trials=TRIALS)
    better, _ = promoted_shares(40, 0.03, trials=TRIALS)
    assert worse <= 0.1 and better >= 0.8 - CHANCE
    assert worse < worse_by_point


@pytest.mark.slow
def test_few_images_promote_no_worse_model() -> None:
    worse, worse_by_point = promoted_shares(4, -0.03, trials=TRIALS)
    better, _ = promoted_shares(4, 0.1, trials=TRIALS)
    assert worse <= 0.1 < 0.4 < worse_by_point
    # A large gain shows in four images too.
    assert better > 0.6
