from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from training.auto_accept.probability import fit_probability
from training.metrics.matching import MatchedDetection

SCORES = (0.2, 0.5, 0.9)


def regions(label: str, count: int, *, slope: float, offset: float, seed: int = 0) -> list[MatchedDetection]:
    """Regions that are right as often as a logistic curve over their scores says."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.05, 0.95, count)
    right = rng.uniform(size=count) < expit(offset + slope * logit(scores))
    return [
        MatchedDetection(number, label, float(score), bool(is_right))
        for number, (score, is_right) in enumerate(zip(scores, right, strict=True))
    ]


def at(label: str) -> list[MatchedDetection]:
    return [MatchedDetection(0, label, score, True) for score in SCORES]


def test_a_logistic_curve_is_found_again() -> None:
    fit = fit_probability(
        [
            *regions("saree", 20_000, slope=1.5, offset=1.0, seed=1),
            *regions("blouse", 20_000, slope=1.5, offset=-1.0, seed=2),
        ],
        ["saree", "blouse"],
    )
    assert fit.of(at("saree")) == pytest.approx(expit(1.0 + 1.5 * logit(np.array(SCORES))), abs=0.02)
    assert fit.of(at("blouse")) == pytest.approx(expit(-1.0 + 1.5 * logit(np.array(SCORES))), abs=0.02)


def test_a_label_is_judged_by_the_others_until_it_has_regions_of_its_own() -> None:
    sarees = regions("saree", 2000, slope=1.0, offset=2.0)
    blouses = [MatchedDetection(image, "blouse", 0.5, False) for image in range(200)]
    few, many = (
        fit_probability([*sarees, *blouses[:count]], ["saree", "blouse"]).of(at("blouse"))[1] for count in (2, 200)
    )
    saree = fit_probability(sarees, ["saree", "blouse"]).of(at("saree"))[1]
    assert many < 0.1 < 0.3 < few < saree


def test_a_higher_score_never_counts_for_less() -> None:
    fit = fit_probability(regions("saree", 2000, slope=-1.0, offset=0.0), ["saree"])
    assert fit.slope == 0
    assert np.ptp(fit.of(at("saree"))) == 0


def test_scores_of_nothing_and_everything_count_too() -> None:
    judged = [MatchedDetection(image, "saree", float(image % 2), bool(image % 2)) for image in range(100)]
    never, always = fit_probability(judged, ["saree"]).of(judged[:2])
    assert never < 0.1 < 0.9 < always


def test_an_unknown_label_is_never_right() -> None:
    fit = fit_probability(regions("saree", 100, slope=1.0, offset=0.0), ["saree"])
    assert list(fit.of(at("belt"))) == [0, 0, 0]
    assert list(fit_probability([], ["saree"]).of(at("saree"))) == [0, 0, 0]
