"""How often a worse model is promoted and a better one refused: `make bench ONLY=promotion`; a simulation.

Assumed: labels are in 90, 80, 40, 30, 25 and 20 % of the images, once. The IoU of a garment with its detection is
normal (mean 0.75; standard deviation 0.12 of garments and 0.05 of images, the same for all models, and 0.1 of each
model's own), at most 0.98. Each model misses 5 % of the garments, and has a false detection of each label in a tenth of
the images. A training's epochs are equally good and share half of the variance of their own. The other way is to take
the best of 8 epochs on the held-out images and to promote it if its mAP there is higher and no label of ten garments
lost 0.05.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.detector.average_precision import IOU_THRESHOLDS, LabelMatches
from backend.registry.scores import Compared, LabelScores, Scores
from benchmarks.table import Row
from training.evaluation.promotion import MIN_INSTANCES, decide_promotion, paired_bootstrap

PRESENCE = {"saree": 0.9, "blouse": 0.8, "dupatta": 0.4, "kurta": 0.3, "lehenga": 0.25, "shawl": 0.2}
MEAN_IOU, GARMENT_SD, IMAGE_SD, MODEL_SD, MAX_IOU = 0.75, 0.12, 0.05, 0.1, 0.98
MISSED, FALSE_PER_IMAGE = 0.05, 0.1
EPOCHS, MAX_DROP = 8, 0.05
IMAGES, CHANGES, TRIALS = (4, 10, 40), (-0.03, 0.03), 200

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Garments:
    """The garments of a label: the image of each, and how well any model finds it (IoU)."""

    images: npt.NDArray[np.int64]
    ease: Floats


def measure() -> list[Row]:
    """Returns the shares of wrong decisions, in percent."""
    rows = []
    for images in IMAGES:
        for change in CHANGES:
            ours, other = promoted_shares(images, change, trials=TRIALS)
            wrong = (ours, other) if change < 0 else (1 - ours, 1 - other)
            what = "worse model promoted" if change < 0 else "better model not promoted"
            name = f"{what} (IoU {change:+g}), {images} held-out images / best epoch, by its mAP"
            rows.append(Row(name, 100 * wrong[0], 100 * wrong[1], wrong[1] / max(wrong[0], 1 / TRIALS), "%", TRIALS))
    return rows


def promoted_shares(images: int, change: float, *, trials: int) -> tuple[float, float]:
    """Returns how often a challenger is promoted whose IoU differs by `change`: by Drape's rule, and the other way."""
    promoted = np.array([_trial(np.random.default_rng(seed), images, change) for seed in range(trials)])
    ours, other = promoted.mean(axis=0)
    return float(ours), float(other)


def _trial(rng: np.random.Generator, images: int, change: float) -> tuple[bool, bool]:
    light = rng.normal(0, IMAGE_SD, images)
    garments = {}
    for label, presence in PRESENCE.items():
        shown = np.flatnonzero(rng.random(images) < presence)
        garments[label] = _Garments(shown, rng.normal(MEAN_IOU, GARMENT_SD, len(shown)) + light[shown])
    garments = {label: of_label for label, of_label in garments.items() if len(of_label.images)}
    if not garments:
        return False, False
    champion = _model(rng, garments, images, lambda _, count: rng.normal(0, MODEL_SD, count))
    training = {label: rng.normal(0, MODEL_SD, len(of_label.images)) for label, of_label in garments.items()}

    def epoch(label: str, count: int) -> Floats:
        return change + np.sqrt(0.5) * (training[label] + rng.normal(0, MODEL_SD, count))

    epochs = [_model(rng, garments, images, epoch) for _ in range(EPOCHS)]
    ours = decide_promotion(
        Compared(_scores(epochs[-1], images), _scores(champion, images)),
        paired_bootstrap(epochs[-1], champion),
        champion_name="v1",
        margin=0.0,
        max_class_drop=MAX_DROP,
    )
    return ours.promoted, _is_promoted_by_point(max(epochs, key=_map), champion)


def _model(
    rng: np.random.Generator, garments: dict[str, _Garments], images: int, own: Callable[[str, int], Floats]
) -> dict[str, LabelMatches]:
    matches = {}
    for label, of_label in garments.items():
        iou = np.minimum(of_label.ease + own(label, len(of_label.images)), MAX_IOU)
        score = 0.3 + 0.6 * iou + rng.normal(0, 0.1, len(iou))
        is_found = rng.random(len(iou)) >= MISSED
        elsewhere = np.flatnonzero(rng.random(images) < FALSE_PER_IMAGE)
        order = np.argsort(-np.concatenate([score[is_found], rng.beta(2, 4, len(elsewhere))]), kind="stable")
        ious = np.concatenate([iou[is_found], np.zeros(len(elsewhere))])[order]
        matches[label] = LabelMatches(
            np.bincount(of_label.images, minlength=images),
            np.concatenate([of_label.images[is_found], elsewhere])[order],
            tuple(np.flatnonzero(ious >= threshold) for threshold in IOU_THRESHOLDS),
        )
    return matches


def _scores(matches: dict[str, LabelMatches], images: int) -> Scores:
    """Returns the metrics that a decision needs."""
    rows = tuple(
        LabelScores(
            label,
            instances=int(of_label.garments.sum()),
            box_map=None,
            box_map50=None,
            mask_map=_ap(of_label),
            mask_map50=None,
            precision=None,
            recall=None,
            iou=None,
            accuracy=None,
            dice=None,
            boundary_iou=None,
        )
        for label, of_label in matches.items()
    )
    return Scores(
        images=images,
        box_map=None,
        box_map50=None,
        mask_map=_map(matches),
        mask_map50=None,
        precision=None,
        recall=None,
        miou=None,
        mean_accuracy=None,
        dice=None,
        boundary_iou=None,
        overall_accuracy=None,
        ms_an_image=None,
        labels=rows,
    )


def _is_promoted_by_point(challenger: dict[str, LabelMatches], champion: dict[str, LabelMatches]) -> bool:
    return _map(challenger) > _map(champion) and not any(
        _ap(champion[label]) - _ap(of_label) > MAX_DROP
        for label, of_label in challenger.items()
        if of_label.garments.sum() >= MIN_INSTANCES
    )


def _map(matches: dict[str, LabelMatches]) -> float:
    return float(np.mean([_ap(of_label) for of_label in matches.values()]))


def _ap(matches: LabelMatches) -> float:
    return float(matches.precisions().mean())
