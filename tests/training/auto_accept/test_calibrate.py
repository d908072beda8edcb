"""Thresholds keep their promise: tables, and data whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import beta, binom

from backend.domain import LabelledMask
from training.auto_accept.calibrate import calibrate, evidence_for
from training.metrics.binomial import CONFIDENCE, lower_bound
from training.metrics.matching import MatchedDetection, match

Floats = npt.NDArray[np.floating[Any]]


def block(left: int, right: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros((30, 100), bool)
    mask[:, left:right] = True
    return mask


def found(left: int, right: int, score: float, label: str = "saree") -> LabelledMask:
    return LabelledMask(block(left, right), label, score)


TRUTH = [LabelledMask(block(0, 40), "saree"), LabelledMask(block(50, 90), "blouse")]
# found regions, which of them are right, the surest first
JUDGED = [
    ([found(0, 40, 0.9)], [True]),
    ([found(0, 32, 0.9)], [True]),  # IoU exactly 0.8
    ([found(0, 31, 0.9)], [False]),
    ([found(0, 40, 0.9, "blouse")], [False]),
    ([found(0, 40, 0.5), found(0, 39, 0.9)], [True, False]),  # one approved region is right for one
    ([found(50, 90, 0.4, "blouse"), found(0, 38, 0.6)], [True, True]),
    ([], []),
]


@pytest.mark.parametrize(("regions", "right"), JUDGED)
def test_a_region_is_right_where_label_and_mask_are(regions: list[LabelledMask], right: list[bool]) -> None:
    judged = match(7, regions, TRUTH, iou=0.8)
    assert [one.is_correct for one in judged] == right
    assert [one.score for one in judged] == sorted((one.score or 0.0 for one in regions), reverse=True)
    assert all(one.image == 7 for one in judged)


@pytest.mark.parametrize(("right", "regions"), [(0, 5), (3, 5), (148, 148), (149, 149), (980, 1000)])
def test_the_bound_is_where_the_tail_is_as_improbable_as_said(right: int, regions: int) -> None:
    bound = lower_bound(right, regions, error=0.05)
    if right == 0:
        assert bound == 0.0
    else:
        # So many or more right would be that improbable, were the true share the bound.
        assert binom.sf(right - 1, regions, bound) == pytest.approx(0.05, abs=1e-9)
    # The textbook's rule of three, near enough: 149 without a mistake prove 98 %.
    assert (bound >= 0.98) == ((right, regions) == (149, 149))


def many(label: str, count: int, wrong_below: float, seed: int = 0) -> list[MatchedDetection]:
    scores = np.random.default_rng(seed).uniform(0, 1, count)
    return [
        MatchedDetection(number, label, float(score), bool(score >= wrong_below)) for number, score in enumerate(scores)
    ]


def test_too_little_evidence_accepts_nothing() -> None:
    assert evidence_for("saree", many("saree", 227, 0.0), precision=0.98).threshold is None
    enough = evidence_for("saree", many("saree", 228, 0.0), precision=0.98)
    assert (enough.threshold, enough.regions, enough.right) == (0.0, 228, 228)
    assert evidence_for("saree", [], precision=0.9).threshold is None
    assert evidence_for("blouse", many("saree", 500, 0.0), precision=0.9).regions == 0


def test_the_threshold_keeps_the_wrong_ones_out() -> None:
    evidence = evidence_for("saree", many("saree", 3000, 0.5), precision=0.95)
    assert evidence.threshold is not None
    assert 0.4 < evidence.threshold < 0.7
    assert evidence.right / evidence.regions >= 0.95 and evidence.bound >= 0.95
    never = evidence_for("saree", many("saree", 3000, 2.0), precision=0.95)
    assert (never.threshold, never.regions, never.right, never.bound) == (None, 3000, 0, 0.0)


def test_equal_scores_are_in_or_out_together() -> None:
    judged = [MatchedDetection(number, "saree", 0.9 if number % 2 else 0.5, bool(number % 2)) for number in range(1000)]
    evidence = evidence_for("saree", judged, precision=0.95)
    assert evidence.threshold is not None and 0.5 < evidence.threshold <= 0.9
    assert (evidence.regions, evidence.right) == (500, 500)


@pytest.mark.parametrize("lowest", [0.05, 0.25, 0.6])
def test_nothing_is_accepted_below_what_was_looked_at(lowest: float) -> None:
    """Whoever lowers the detector's own threshold after the training gets no region accepted that nobody has judged."""
    judged = [
        MatchedDetection(image, "saree", float(score), True)
        for image, score in enumerate(np.linspace(lowest - 0.05, 1, 1000))
    ]
    evidence = evidence_for("saree", judged, precision=0.98, min_score=lowest)
    assert evidence.threshold == lowest
    assert evidence.regions == evidence.right == sum(one.score >= lowest for one in judged) < 1000


def test_what_would_be_accepted_is_told() -> None:
    # Each image holds a saree that is sure and, every second one, a blouse of which nothing is known.
    judged = [MatchedDetection(image, "saree", 0.9, True) for image in range(400)]
    judged += [MatchedDetection(image, "blouse", 0.9, True) for image in range(0, 40, 2)]
    told = calibrate(judged, {"saree": 0.25, "blouse": 0.25, "belt": 0.5}, images=500, precision=0.98, iou=0.8)
    assert told.thresholds == {"saree": 0.25}
    assert [(one.label, one.regions) for one in told.labels] == [("saree", 400), ("blouse", 20), ("belt", 0)]
    assert told.images_accepted == pytest.approx((400 - 20) / 500)
    assert told.regions_accepted == pytest.approx((400 - 20) / 420)


# How likely a region of a score in [0, 1] is right, and the density of scores as a Beta distribution's parameters.
WORLDS: list[tuple[str, Callable[[Floats], Floats], tuple[float, float]]] = [
    ("steep", lambda score: 1 / (1 + np.exp(-14 * (score - 0.35))), (2, 2)),
    ("gentle", lambda score: 0.7 + 0.3 * score, (2, 1)),
    ("scores that say little", lambda score: np.full_like(score, 0.955), (1, 1)),
    ("the surest are wrong", lambda score: np.where(score > 0.97, 0.5, 0.99), (1.5, 1)),
]
DRAWS = 200


def true_precision(right: Callable[[Floats], Floats], density: tuple[float, float], threshold: float) -> float:
    scores: Floats = np.linspace(threshold, 1, 4001)[:-1] + (1 - threshold) / 8000
    weight = beta.pdf(scores, *density)
    return float((weight * right(scores)).sum() / weight.sum())


@pytest.mark.slow
@pytest.mark.parametrize("precision", [0.9, 0.95, 0.98])
@pytest.mark.parametrize(("right", "density"), [world[1:] for world in WORLDS], ids=[world[0] for world in WORLDS])
def test_over_200_draws_the_promise_fails_no_more_often_than_it_may(
    right: Callable[[Floats], Floats], density: tuple[float, float], precision: float
) -> None:
    rng = np.random.default_rng(1)
    broken = accepted = 0
    for draw in range(DRAWS):
        count = int(rng.choice([120, 400, 1500, 4000]))
        scores: Floats = np.array(rng.beta(*density, count), np.float64)
        is_right = rng.uniform(size=count) < right(scores)
        judged = [MatchedDetection(draw, "saree", float(s), bool(r)) for s, r in zip(scores, is_right, strict=True)]
        threshold = evidence_for("saree", judged, precision=precision).threshold
        if threshold is not None:
            accepted += 1
            broken += true_precision(right, density, threshold) < precision
    # Were each broken with the 5 % that are allowed, more than this would be seen once in a thousand runs.
    assert broken <= binom.ppf(0.999, DRAWS, 1 - CONFIDENCE)
    if true_precision(right, density, 0.0) > precision + 0.02:
        assert accepted > DRAWS / 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", [0.9, 0.95, 0.98])
@pytest.mark.parametrize("count", [300, 1500, 6000])
def test_where_any_threshold_would_break_the_promise_hardly_one_is_set(precision: float, count: int) -> None:
    """The worst world: whatever its score, a region is right just less often than is promised."""
    rng = np.random.default_rng(3)
    accepted = 0
    for _ in range(DRAWS):
        scores, is_right = rng.uniform(size=count), rng.uniform(size=count) < precision - 1e-4
        judged = [MatchedDetection(0, "saree", float(s), bool(r)) for s, r in zip(scores, is_right, strict=True)]
        accepted += evidence_for("saree", judged, precision=precision).threshold is not None
    assert accepted <= binom.ppf(0.999, DRAWS, 1 - CONFIDENCE)


def test_a_gate_without_the_bound_would_break_it() -> None:
    """The test above can fail: the threshold whose observed share alone does is broken far more often."""
    rng = np.random.default_rng(2)
    broken = 0
    for _ in range(DRAWS):
        scores = rng.uniform(size=400)
        is_right = rng.uniform(size=400) < 0.955
        order = np.argsort(-scores)
        observed = np.cumsum(is_right[order]) / np.arange(1, 401)
        broken += bool((observed[50:] >= 0.96).any())
    assert broken > binom.ppf(0.999, DRAWS, 1 - CONFIDENCE)
