"""Thresholds keep their promise: tables, and data whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom

from backend.auto_accept.calibration import Calibration
from backend.domain import Detection, Image, LabelledMask, Mask, Photo, Scene
from backend.label_studio.label_config import parse_label_config
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from training.auto_accept.calibrate import FOLDS, MIN_REGIONS, calibrate, calibration_on, matched_detections
from training.evaluation.compact_scenes import CompactMasks
from training.evaluation.held_out import HeldOut
from training.metrics.binomial import CONFIDENCE, lower_bound, lower_bound_over_images
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


def test_regions_of_one_image_prove_no_more_than_the_image_where_they_may_be_wrong_together() -> None:
    single = lower_bound_over_images(148, [1] * 149, error=0.05)
    assert single == lower_bound(148, 149, error=0.05)
    # Three in each image are as good as one, and unequal numbers are worth less than equal ones.
    assert lower_bound_over_images(3 * 148, [3] * 149, error=0.05) == pytest.approx(single)
    assert lower_bound_over_images(149, [10] * 10 + [1] * 49, error=0.05) < lower_bound(59, 59, error=0.05)
    assert lower_bound_over_images(0, [], error=0.05) == lower_bound_over_images(0, [2], error=0.05) == 0.0


def promising(precision: float) -> Settings:
    return Settings(auto_accept_precision=precision)


def calibrated(judged: list[MatchedDetection], *, precision: float, images: int | None = None) -> Calibration:
    labels = sorted({one.label for one in judged} | {"saree"})
    count = max((one.image for one in judged), default=-1) + 1 if images is None else images
    return calibrate(judged, labels, images=count, settings=promising(precision))


def many(label: str, count: int, wrong_below: float, seed: int = 0) -> list[MatchedDetection]:
    scores = np.random.default_rng(seed).uniform(0, 1, count)
    return [
        MatchedDetection(number, label, float(score), bool(score >= wrong_below)) for number, score in enumerate(scores)
    ]


def test_too_little_evidence_accepts_nothing_and_says_so() -> None:
    few = calibrated([MatchedDetection(number, "saree", 0.9, True) for number in range(148)], precision=0.98)
    assert (few.thresholds, few.images, few.accepted_images, few.needed_images) == ({}, 148, 148, 149)
    assert few.test_result.startswith("Only 148 of 148 held-out images would be accepted in the test, and 98 % needs")
    enough = calibrated([MatchedDetection(number, "saree", 0.9, True) for number in range(149)], precision=0.98)
    assert (enough.thresholds, enough.accepted_images, enough.bound >= 0.98) == ({"saree": 0.9}, 149, True)
    nothing = calibrated([], precision=0.9)
    assert (nothing.thresholds, nothing.images, nothing.bound) == ({}, 0, 0.0)
    wrong = calibrated(many("saree", 3000, 2.0), precision=0.95)
    assert (wrong.thresholds, [(one.regions, one.right) for one in wrong.labels]) == ({}, [(3000, 0)])
    unsure = [MatchedDetection(image, "saree", 0.9, image % 20 > 0) for image in range(600)]
    assert calibrated(unsure, precision=0.98).test_result == (
        "600 of 600 held-out images would be accepted in the test, with 570 of 600 regions right: that proves 93.3 %, "
        "not 98 %."
    )


def test_the_threshold_keeps_the_wrong_ones_out() -> None:
    found = calibrated(many("saree", 3000, 0.5), precision=0.95)
    assert 0.4 < found.thresholds["saree"] < 0.7
    assert found.right_regions / found.accepted_regions >= 0.95 and found.bound >= 0.95


def test_equal_scores_are_in_or_out_together() -> None:
    judged = [MatchedDetection(number, "saree", 0.9 if number % 2 else 0.5, bool(number % 2)) for number in range(1000)]
    found = calibrated(judged, precision=0.95)
    assert (found.thresholds, found.accepted_regions, found.right_regions) == ({"saree": 0.9}, 500, 500)


def test_no_image_is_judged_by_what_it_taught() -> None:
    """Each label is in the images of one fold alone, and all of it is right there: other folds know nothing of it."""
    labels = [f"saree {fold}" for fold in range(FOLDS)]
    judged = [MatchedDetection(image, labels[image % FOLDS], 0.9, image % FOLDS > 0) for image in range(500)]
    told = calibrate(judged, labels, images=500, settings=promising(0.9))
    # By a fit to all images the wrong label would be kept out, and 400 images would prove 90 %.
    assert (told.thresholds, told.accepted_images) == ({}, 500)


def test_what_is_tested_is_what_is_accepted() -> None:
    """Sure sarees are right except alone; most others stand beside a blouse that nobody may accept."""
    judged = [MatchedDetection(image, "saree", 0.9, bool(image % 10)) for image in range(900)]
    judged += [MatchedDetection(image, "blouse", 0.3, False) for image in range(900) if image % 10]
    found = calibrated(judged, precision=0.85)
    assert not found.thresholds
    assert found.right_regions / found.accepted_regions < 0.6


def test_a_label_that_is_often_wrong_is_kept_out() -> None:
    judged = [MatchedDetection(image, "saree", 0.8, image % 50 > 0) for image in range(600)]
    judged += [MatchedDetection(image, "blouse", 0.8, image % 3 > 0) for image in range(600, 800)]
    told = calibrate(judged, ["saree", "blouse"], images=800, settings=promising(0.95))
    assert (told.thresholds, told.accepted_images) == ({"saree": 0.8}, 600)


def test_a_label_with_few_regions_borrows_from_the_others_and_a_rare_one_is_left_to_people() -> None:
    judged = [MatchedDetection(image, "saree", 0.9, True) for image in range(600)]
    judged += [MatchedDetection(image, "blouse", 0.9, True) for image in range(600, 600 + MIN_REGIONS)]
    judged += [MatchedDetection(image, "shawl", 0.9, True) for image in range(700, 700 + MIN_REGIONS - 1)]
    told = calibrate(judged, ["saree", "blouse", "shawl", "belt"], images=900, settings=promising(0.98))
    assert told.thresholds == {"saree": 0.9, "blouse": 0.9}
    assert [(one.label, one.regions) for one in told.labels] == [
        ("saree", 600),
        ("blouse", MIN_REGIONS),
        ("shawl", MIN_REGIONS - 1),
        ("belt", 0),
    ]
    assert told.images_accepted == (600 + MIN_REGIONS) / 900


def test_where_all_labels_are_rare_nothing_was_tested() -> None:
    judged = [MatchedDetection(image, f"saree {image % 30}", 0.9, True) for image in range(30 * (MIN_REGIONS - 1))]
    told = calibrated(judged, precision=0.9)
    assert (told.thresholds, told.accepted_images) == ({}, 0)
    assert told.test_result.startswith("Only 0 of 270 held-out images would be accepted in the test, and 90 % needs")


def test_a_label_of_which_nothing_was_tested_has_no_threshold() -> None:
    """With all its regions a label may look surer than with four fifths of them, as it was tested."""
    labels, rng = [f"saree {number}" for number in range(60)], np.random.default_rng(3)
    share = np.where(rng.uniform(size=60) < 0.5, 0.8, 1.0)
    judged = [
        MatchedDetection(image, labels[number], 0.9, bool(rng.uniform() < share[number]))
        for image, number in enumerate(rng.integers(60, size=900))
    ]
    told = calibrate(judged, labels, images=900, settings=promising(0.95))
    assert len(told.thresholds) > 20
    assert all(one.regions for one in told.labels if one.threshold is not None)


CONFIG = parse_label_config(
    '<View><Image name="i" value="$image"/>'
    '<PolygonLabels name="p" toName="i"><Label value="saree"/></PolygonLabels>'
    '<PolygonLabels name="q" toName="i" model_score_threshold="0.05"><Label value="blouse"/></PolygonLabels></View>'
)
IMAGE = Image(np.zeros((30, 100, 3), np.uint8), key="", source="")


class Finds:
    """Finds the same saree in every image, and in every second one a blouse of a low score."""

    def __init__(self, saree: Mask, *, blouse: float) -> None:
        self._saree, self._blouse = saree, blouse

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for number, _ in enumerate(images):
            found = [Detection(self._saree, "saree", 0.9)]
            if number % 2:
                found.append(Detection(block(50, 90), "blouse", self._blouse))
            yield Scene(tuple(one for one in found if one.score >= min_score))


def test_the_evidence_is_of_what_is_found_from_the_labels_own_lowest_score() -> None:
    """Images with a blouse do not pass, as it is wrong; where nobody looks for it they seem to."""
    held_out = [
        HeldOut(number, number, IMAGE, CompactMasks([LabelledMask(block(0, 40), "saree")])) for number in range(110)
    ]
    found = calibration_on(held_out, Finds(block(0, 40), blouse=0.1), CONFIG, Settings(auto_accept_precision=0.9))
    assert [(one.label, one.regions) for one in found.labels] == [("saree", 55), ("blouse", 55)]
    assert (found.thresholds, found.accepted_images, found.accepted_regions) == ({"saree": 0.9}, 55, 55)


@pytest.mark.parametrize(("parts", "right"), [("each", True), ("largest", False), ("joined", True)])
def test_the_evidence_is_of_the_regions_that_are_stored(parts: Any, right: bool) -> None:
    """A saree in two parts, of which the largest alone has an IoU of 0.57 with it."""
    saree = block(0, 40) | block(60, 90)
    held_out = [HeldOut(number, number, IMAGE, CompactMasks([LabelledMask(saree, "saree")])) for number in range(90)]
    settings = Settings(auto_accept_precision=0.9, polygon_parts=parts)
    found = calibration_on(held_out, Finds(saree, blouse=0.0), CONFIG, settings)
    assert [one.right for one in found.labels] == [90 if right else 0, 0]
    assert bool(found.thresholds) == right


class FindsTooMuch:
    """Finds the saree of a figure, and 12 pixels of what is around it."""

    def __init__(self, saree: Mask) -> None:
        self._found = cv2.dilate(saree.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for _ in images:
            yield Scene((Detection(self._found, "saree", 0.9),))


@pytest.mark.parametrize(("refine", "right"), [("off", 0), ("builtin", 1)])
def test_the_evidence_is_of_the_masks_that_are_stored(refine: Any, right: int) -> None:
    figure = draw_figure(3)
    saree = next(each.mask for each in figure.instances if each.label == "saree")
    held_out = [
        HeldOut(0, 0, Image(figure.pixels, key="figure", source=""), CompactMasks([LabelledMask(saree, "saree")]))
    ]
    found = calibration_on(held_out, FindsTooMuch(saree), CONFIG, Settings(refine=refine))
    assert [(one.label, one.regions, one.right) for one in found.labels] == [("saree", 1, right), ("blouse", 0, 0)]


def test_where_a_label_is_exclusive_the_evidence_is_of_what_later_regions_leave() -> None:
    """Every second saree reaches below a blouse, as it would in the stored annotation."""
    config = replace(CONFIG, labels=tuple(replace(label, exclusive=True) for label in CONFIG.labels))
    alone, layered = LabelledMask(block(0, 70), "saree"), LabelledMask(block(0, 50), "saree")
    blouse = LabelledMask(block(50, 90), "blouse")
    held_out = [HeldOut(0, 0, IMAGE, CompactMasks([alone])), HeldOut(1, 1, IMAGE, CompactMasks([layered, blouse]))]
    judged = matched_detections(held_out, Finds(block(0, 70), blouse=0.4), config, Settings())
    assert [(one.image, one.label, one.is_correct) for one in judged] == [
        (0, "saree", True),
        (1, "saree", True),
        (1, "blouse", True),
    ]


@dataclass(frozen=True)
class World:
    """Photographs with a known truth.

    Attributes:
        right: how likely a region of a score in `[0, 1]` is right.
        density: the scores' Beta distribution.
        garments: the most garments in a photograph; each number from 1 is as likely.
        over_confident: the share of photographs in which the model is sure of everything and half of it is wrong.
        unsure: the share of garments in the other photographs whose score is below 0.3.
    """

    right: Callable[[Floats], Floats]
    density: tuple[float, float]
    garments: int = 1
    over_confident: float = 0.0
    unsure: float = 0.0

    def draw(self, rng: np.random.Generator, images: int) -> list[MatchedDetection]:
        image, label, scores, right = self._draw(rng, images)
        return [
            MatchedDetection(int(i), LABELS[k], float(s), bool(r))
            for i, k, s, r in zip(image, label, scores, right, strict=True)
        ]

    def precision(self, thresholds: Mapping[str, float], images: int = 20_000) -> float:
        """The share of right regions among those of photographs that pass as a whole."""
        image, label, scores, right = self._draw(np.random.default_rng(99), images)
        lowest = np.array([thresholds.get(name, np.inf) for name in LABELS])
        accepted = ~np.isin(image, image[scores < lowest[label]])
        return float(right[accepted].mean())

    def _draw(self, rng: np.random.Generator, images: int) -> tuple[Any, Any, Floats, Any]:
        image = np.repeat(np.arange(images), rng.integers(1, self.garments + 1, images))
        label = rng.choice(len(LABELS), len(image), p=[0.6, 0.3, 0.1])
        sure = (rng.uniform(size=images) < self.over_confident)[image]
        # Where it is over-confident, half of the photographs are wrong altogether.
        wrong = (rng.uniform(size=images) < 0.5)[image]
        scores: Floats = np.array(rng.beta(*self.density, len(image)), np.float64)
        scores = np.where(rng.uniform(size=len(image)) < self.unsure, 0.3 * scores, scores)
        scores = np.where(sure, 0.9 + 0.1 * scores, scores)
        return image, label, scores, np.where(sure, ~wrong, rng.uniform(size=len(image)) < self.right(scores))


LABELS = ("saree", "blouse", "dupatta")
WORLDS = {
    "steep": World(lambda score: 1 / (1 + np.exp(-14 * (score - 0.35))), (2, 2)),
    "gentle": World(lambda score: 0.7 + 0.3 * score, (2, 1)),
    "scores that say little": World(lambda score: np.full_like(score, 0.955), (1, 1)),
    "the surest are wrong": World(lambda score: np.where(score > 0.97, 0.5, 0.99), (1.5, 1)),
    "several garments": World(lambda score: 1 / (1 + np.exp(-14 * (score - 0.35))), (5, 1.5), garments=4),
    # Of regions above any threshold 99 % are right; but the over-confident photographs are those that pass.
    "the over-confident pass": World(
        lambda score: np.where(score > 0.3, 0.999, 0.6), (8, 1.5), garments=6, over_confident=0.025, unsure=0.45
    ),
}
DRAWS = 200
MOST_BROKEN = binom.ppf(0.999, DRAWS, 1 - CONFIDENCE)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [0.9, 0.98])
@pytest.mark.parametrize("name", WORLDS)
def test_over_200_draws_the_promise_fails_no_more_often_than_it_may(name: str, precision: float) -> None:
    world = WORLDS[name]
    rng = np.random.default_rng(1)
    broken = accepted = 0
    for _ in range(DRAWS):
        count = int(rng.choice([120, 400, 1200]))
        found = calibrate(world.draw(rng, count), LABELS, images=count, settings=promising(precision))
        if found.thresholds:
            accepted += 1
            broken += world.precision(found.thresholds) < precision
    # Were each broken with the 5 % that are allowed, more than this would be seen once in a thousand runs.
    assert broken <= MOST_BROKEN
    if world.precision(dict.fromkeys(LABELS, 0.0)) > precision + 0.02:
        assert accepted > DRAWS / 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", [0.9, 0.98])
@pytest.mark.parametrize("count", [300, 900])
@pytest.mark.parametrize("together", [False, True])
def test_where_any_threshold_would_break_the_promise_hardly_one_is_set(
    precision: float, count: int, together: bool
) -> None:
    """The worst world: whatever the score, a region is right just less often than is promised.

    In half of the tests the three regions of a photograph are right or wrong together.
    """
    rng = np.random.default_rng(3)
    accepted = 0
    garments = 3 if together else 1
    for _ in range(DRAWS):
        scores, is_right = rng.uniform(size=count), rng.uniform(size=count) < precision - 1e-4
        judged = [
            MatchedDetection(image, "saree", float(s), bool(r))
            for image, (s, r) in enumerate(zip(scores, is_right, strict=True))
            for _ in range(garments)
        ]
        accepted += bool(calibrated(judged, precision=precision).thresholds)
    assert accepted <= MOST_BROKEN


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
    assert broken > MOST_BROKEN
