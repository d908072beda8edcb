"""Which model the project works with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from backend.detector.average_precision import LabelMatches, instances, match_instances
from backend.domain import Detection, LabelledMask, Scene
from backend.registry.scores import Compared, Scores
from backend.registry.verdict import Verdict
from training.evaluation.compact_scenes import CompactMasks, CompactScenes
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


def matches(found: list[Scene], truth: Sequence[Sequence[LabelledMask]] = TRUTH) -> dict[str, LabelMatches]:
    return match_instances(
        [instances(masks) for masks in truth], (instances(scene.detections) for scene in found), iou_type="segm"
    )


def scores(found: list[Scene], truth: Sequence[Sequence[LabelledMask]] = TRUTH) -> Scores:
    return compute_scores(
        [CompactMasks(masks) for masks in truth],
        CompactScenes(found),
        sizes_wh=[(60, 30)] * len(truth),
        labels=("saree", "blouse", "kurta"),
        min_score=0.25,
        ms_an_image=None,
    )[0]


def verdict(
    challenger: list[Scene],
    champion: list[Scene] | None,
    *,
    truth: Sequence[Sequence[LabelledMask]] = TRUTH,
    margin: float = 0.0,
) -> Verdict:
    compared = Compared(scores(challenger, truth), None if champion is None else scores(champion, truth))
    gains = None if champion is None else paired_bootstrap(matches(challenger, truth), matches(champion, truth))
    name = None if champion is None else "v1"
    return decide_promotion(compared, gains, champion_name=name, margin=margin, max_class_drop=0.05)


# Sarees and blouses that challenger and champion find, the margin, whether the challenger takes over, and why (not).
CASES = [
    ((12, 12), (6, 6), 0.0, True, "1.000, that of v1 0.5"),
    ((6, 6), (12, 12), 0.0, False, "not higher"),
    ((6, 6), (6, 6), 0.0, False, "not higher"),
    ((12, 12), (6, 6), 0.6, False, "not higher by more than 0.6"),
    ((2, 2), (12, 12), -1.0, False, "loses more than 0.05"),
    ((12, 5), (0, 12), 0.0, False, "loses more than 0.05 on blouse from 1.000 to 0.4"),
    # Three of twelve blouses may be chance.
    ((12, 9), (2, 12), 0.0, True, "0.876, that of v1 0.584"),
    ((7, 7), (6, 6), 0.0, False, "not enough to tell whether it is higher by more than 0, so v1 stays"),
    ((7, 7), (6, 6), -1.0, True, "0.5"),
    ((12, 12), (2, 12), 0.0, True, "1.000"),
]


@pytest.mark.parametrize(("challenger", "champion", "margin", "promoted", "reason"), CASES)
def test_the_better_one_is_taken(
    challenger: tuple[int, int], champion: tuple[int, int], margin: float, promoted: bool, reason: str
) -> None:
    found = verdict(scenes(*challenger), scenes(*champion), margin=margin)
    assert found.promoted == promoted and reason in found.reason
    assert {one.label: one.instances for one in found.labels} == {"saree": IMAGES, "blouse": IMAGES}
    gain = (sum(challenger) - sum(champion)) / (2 * IMAGES)
    assert found.gain_95 is not None and found.gain_95[0] - 0.02 <= gain <= found.gain_95[1] + 0.02


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


def test_one_image_tells_nothing_and_few_tell_little() -> None:
    alone = verdict(scenes(1, 1)[:1], scenes(0, 0)[:1], truth=TRUTH[:1])
    assert not alone.promoted and "not enough to tell" in alone.reason and alone.gain_95 == (-1.0, 1.0)
    assert verdict(scenes(1, 1)[:1], scenes(0, 0)[:1], truth=TRUTH[:1], margin=-1.0).promoted
    # Half of the images better, half equal, of four, twelve: plain percentiles would be as narrow for both.
    few, more = (
        paired_bootstrap(matches(scenes(n, n)[:n], TRUTH[:n]), matches(scenes(n // 2, n // 2)[:n], TRUTH[:n]))
        for n in (4, 12)
    )
    assert few is not None and more is not None
    assert few.mean.interval(0.95) == (0.0, 1.0)
    low, high = more.mean.interval(0.95)
    assert 0.05 < low < 0.5 < high < 0.95


def test_the_interval_holds_the_difference_and_narrows_where_all_images_agree() -> None:
    all_right, half, none = (matches(scenes(n, n)) for n in (12, 6, 0))

    def interval(challenger: dict[str, LabelMatches], champion: dict[str, LabelMatches]) -> tuple[float, float]:
        gains = paired_bootstrap(challenger, champion)
        assert gains is not None
        assert gains.labels["saree"].interval(0.95) == pytest.approx(gains.mean.interval(0.95), abs=0.05)
        return gains.mean.interval(0.95)

    assert interval(all_right, none) == pytest.approx((1.0, 1.0))
    assert interval(half, half) == pytest.approx((0.0, 0.0))
    low, high = interval(all_right, half)
    assert 0.1 < low < 0.5 < high < 0.9
    # Drawn alike each time.
    assert interval(all_right, half) == (low, high)
    assert paired_bootstrap({}, {}) is None
