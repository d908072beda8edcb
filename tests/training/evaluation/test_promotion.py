"""Which model the project works with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from backend.domain import Detection, LabelledMask, Scene
from backend.registry.scores import Compared, Scores
from backend.registry.verdict import Verdict
from training.evaluation.promotion import decide_promotion, paired_bootstrap
from training.evaluation.score import compute_scores

IMAGES = 12
LEFT = np.zeros((30, 60), bool)
LEFT[5:25, 5:25] = True
RIGHT = np.zeros((30, 60), bool)
RIGHT[5:25, 35:55] = True
TRUTH = [[LabelledMask(LEFT, "saree"), LabelledMask(RIGHT, "blouse")] for _ in range(IMAGES)]


def scenes(saree: int, blouse: int) -> list[Scene]:
    """Finds of a model that has so many of the sarees and of the blouses right, and nothing else."""

    def found(mask: npt.NDArray[np.bool_], label: str, wanted: bool) -> list[Detection]:
        return [Detection(mask, label, 0.9)] if wanted else []

    return [
        Scene((*found(LEFT, "saree", number < saree), *found(RIGHT, "blouse", number < blouse)))
        for number in range(IMAGES)
    ]


def scores(found: list[Scene], truth: Sequence[Sequence[LabelledMask]] = TRUTH) -> Scores:
    return compute_scores(
        truth,
        found,
        sizes_wh=[(60, 30)] * len(truth),
        labels=("saree", "blouse", "kurta"),
        min_score=0.25,
        ms_an_image=None,
    )


def verdict(
    challenger: list[Scene],
    champion: list[Scene] | None,
    *,
    truth: Sequence[Sequence[LabelledMask]] = TRUTH,
    margin: float = 0.0,
) -> Verdict:
    compared = Compared(scores(challenger, truth), None if champion is None else scores(champion, truth))
    name = None if champion is None else "v1"
    return decide_promotion(compared, (-0.1, 0.3), champion_name=name, margin=margin, max_class_drop=0.05)


# Sarees and blouses that challenger and champion find, the margin, whether the challenger takes over, and why (not).
CASES = [
    ((12, 12), (6, 6), 0.0, True, "1.000, that of v1 0.5"),
    ((6, 6), (12, 12), 0.0, False, "not higher"),
    ((6, 6), (6, 6), 0.0, False, "not higher"),
    ((12, 12), (6, 6), 0.6, False, "not higher by more than 0.6"),
    ((6, 6), (12, 12), -1.0, False, "loses more than 0.05"),
    ((12, 9), (2, 12), 0.0, False, "loses more than 0.05 on blouse from 1.000 to 0.7"),
    ((12, 12), (2, 12), 0.0, True, "1.000"),
]


@pytest.mark.parametrize(("challenger", "champion", "margin", "promoted", "reason"), CASES)
def test_the_better_one_is_taken(
    challenger: tuple[int, int], champion: tuple[int, int], margin: float, promoted: bool, reason: str
) -> None:
    found = verdict(scenes(*challenger), scenes(*champion), margin=margin)
    assert found.promoted == promoted and reason in found.reason
    assert {one.label: one.instances for one in found.labels} == {"saree": IMAGES, "blouse": IMAGES}
    assert found.gain_95 == (-0.1, 0.3)


def test_a_label_of_few_garments_stops_nothing() -> None:
    truth = [[LabelledMask(LEFT, "saree")] for _ in range(IMAGES)]
    truth[0].append(LabelledMask(RIGHT, "blouse"))
    # The only blouse is lost, for eleven sarees.
    assert verdict(scenes(12, 0), scenes(1, 1), truth=truth, margin=-1.0).promoted


def test_without_anything_to_compare_with_it_is_taken() -> None:
    first = verdict(scenes(3, 3), None)
    assert (first.promoted, first.champion, first.champion_map) == (True, None, None)
    assert first.challenger_map == pytest.approx(first.labels[0].challenger) and "first" in first.reason
    nothing = verdict([], [], truth=[])
    assert nothing.promoted and nothing.challenger_map is None and "held out" in nothing.reason
    alone = Compared(scores(scenes(1, 1)), None)
    damaged = decide_promotion(alone, None, champion_name="v1", margin=0.0, max_class_drop=0.05)
    assert damaged.promoted and damaged.reason == "v1 does not load."


@pytest.mark.slow
def test_the_interval_holds_the_difference_and_narrows_where_all_images_agree() -> None:
    all_right, half, none = (scenes(n, n) for n in (12, 6, 0))
    assert paired_bootstrap(TRUTH, all_right, none) == pytest.approx((1.0, 1.0))
    assert paired_bootstrap(TRUTH, half, half) == pytest.approx((0.0, 0.0))
    drawn = paired_bootstrap(TRUTH, all_right, half)
    assert drawn is not None and 0.1 < drawn[0] < 0.5 < drawn[1] < 0.9
    # Drawn alike each time.
    assert paired_bootstrap(TRUTH, all_right, half) == drawn
    assert paired_bootstrap([[]], [Scene(())], [Scene(())]) is None
