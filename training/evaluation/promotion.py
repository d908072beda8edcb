"""Compares champion and challenger on the same held-out images, and decides on promotion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from backend.detector.average_precision import LabelMatches
from backend.registry.scores import Compared
from backend.registry.verdict import LabelVerdict, Verdict

# With fewer held-out garments a label's average precision is too uncertain to stop a promotion.
MIN_INSTANCES = 10
# The probability with which a new model must be better, and below `FEW_IMAGES` held-out images, where waiting for more
# costs little. `docs/explanation/decisions/promotion-by-interval.md` says how they were chosen.
PROMOTION_CONFIDENCE, PROMOTION_CONFIDENCE_OF_FEW, FEW_IMAGES = 0.65, 0.8, 30
# The probability of the intervals that are shown, and with which a label must have lost too much to stop a promotion.
SHOWN_CONFIDENCE = 0.95
RESAMPLES = 1000
# A batch of resamples counts this many detections of a label at most, so that they fit into a processor's cache.
BATCH_DETECTIONS = 100_000

Interval = tuple[float, float]


@dataclass(frozen=True)
class Gain:
    """The gain in average precision, challenger minus champion, in resamples of the held-out images.

    Attributes:
        values: `float64 (≤ resamples,)`, of those resamples that have ground truth, sorted.
        images: the number of images that were drawn from.
    """

    values: npt.NDArray[np.float64]
    images: int

    def interval(self, confidence: float) -> Interval:
        """Returns the lower and upper end of the gain's two-sided interval.

        These are the expanded percentiles of Hesterberg (2015, "What teachers should know about the bootstrap",
        sec. 4.2): plain percentiles are too narrow for few images. One image alone says nothing: -1 to 1.
        """
        if self.images < 2 or not len(self.values):
            return -1.0, 1.0
        expanded = math.sqrt(self.images / (self.images - 1)) * t.ppf((1 - confidence) / 2, self.images - 1)
        low, high = np.quantile(self.values, [norm.cdf(expanded), norm.cdf(-expanded)])
        return float(low), float(high)


@dataclass(frozen=True)
class Gains:
    """The gain in mask mAP50-95, and in each label's average precision."""

    mean: Gain
    labels: dict[str, Gain]


def paired_bootstrap(
    challenger: Mapping[str, LabelMatches], champion: Mapping[str, LabelMatches], *, seed: int = 0
) -> Gains | None:
    """Computes the gain in resamples of the held-out images (paired bootstrap, Efron 1979).

    Each resample draws images with replacement, the same images for both models.

    Args:
        challenger, champion: their detections, matched with the same ground truth.

    Returns:
        None if no image has ground truth.
    """
    if not challenger:
        return None
    images = len(next(iter(challenger.values())).garments)
    detections = max(len(matches.images) for matches in (*challenger.values(), *champion.values()))
    batch = max(BATCH_DETECTIONS // max(detections, images), 1)
    rng = np.random.default_rng(seed)
    gains: dict[str, list[npt.NDArray[np.float64]]] = {label: [] for label in challenger}
    means = []
    for start in range(0, RESAMPLES, batch):
        draws = rng.multinomial(images, np.full(images, 1 / images), min(batch, RESAMPLES - start))
        new, old = (
            np.stack([matches[label].average_precisions(draws) for label in challenger])
            for matches in (challenger, champion)
        )
        for label, values in zip(challenger, new - old, strict=True):
            gains[label].append(values)
        has_truth = ~np.isnan(new).all(axis=0)
        means.append(np.nanmean(new[:, has_truth] - old[:, has_truth], axis=0))
    return Gains(
        Gain(np.sort(np.concatenate(means)), images),
        {
            label: Gain(_defined(np.concatenate(values)), int(np.count_nonzero(challenger[label].garments)))
            for label, values in gains.items()
        },
    )


def decide_promotion(
    compared: Compared, gains: Gains | None, *, champion_name: str | None, margin: float, max_class_drop: float
) -> Verdict:
    """Decides whether the challenger is promoted, and why.

    It is promoted if its mask mAP50-95 is probably higher by more than `margin` (see `PROMOTION_CONFIDENCE`), and no
    label with at least ten garments certainly loses more than `max_class_drop` of its average precision
    (`SHOWN_CONFIDENCE`). Where the images are too few to tell, the champion stays. It is also promoted if there is no
    champion, or no ground truth to evaluate on.

    Args:
        compared: the challenger's metrics, and the champion's if it could be evaluated.
        gains: the result of `paired_bootstrap`; None without a champion, or without ground truth.
    """
    new, old = compared.own, compared.champion
    if new.mask_map is None:
        return Verdict(True, "No approved image was held out to evaluate it on.", new.images, champion_name)
    labels = _labels(compared, gains)
    if old is None or gains is None:
        reason = f"{champion_name} does not load." if champion_name else "It is the project's first model."
        return Verdict(True, reason, new.images, champion_name, new.mask_map, labels=labels)
    promoted, reason = _decide(
        labels, gains.mean, str(champion_name), images=new.images, margin=margin, max_class_drop=max_class_drop
    )
    gain_95 = gains.mean.interval(SHOWN_CONFIDENCE)
    return Verdict(promoted, reason, new.images, champion_name, new.mask_map, old.mask_map, gain_95, labels)


def _decide(
    labels: Sequence[LabelVerdict], gain: Gain, champion: str, *, images: int, margin: float, max_class_drop: float
) -> tuple[bool, str]:
    new, old = (float(np.mean(values)) for values in zip(*map(_average_precisions, labels), strict=True))
    compared = f"Its mask mAP50-95 is {new:.3f}, that of {champion} {old:.3f}, on {images} held-out images"
    worse = [
        f"{label_verdict.label} from {was:.3f} to {now:.3f}"
        for label_verdict in labels
        for now, was in [_average_precisions(label_verdict)]
        if label_verdict.instances >= MIN_INSTANCES
        and label_verdict.gain_95 is not None
        and label_verdict.gain_95[1] < -max_class_drop
    ]
    # Both ends together are wrong twice as often as the lower end alone.
    confidence = PROMOTION_CONFIDENCE if images >= FEW_IMAGES else PROMOTION_CONFIDENCE_OF_FEW
    low, high = gain.interval(2 * confidence - 1)
    # A margin of -1 promotes every new model, even if a single image says nothing.
    if low <= margin and margin > -1:
        if high <= margin or new - old <= margin:
            return False, f"{compared}: not higher by more than {margin:g}."
        return False, (
            f"{compared}: not enough to tell whether it is higher by more than {margin:g}, so {champion} stays. "
            "More approved images will tell."
        )
    if worse:
        return False, f"{compared}; but it loses more than {max_class_drop:g} on {', '.join(worse)}."
    return True, f"{compared}."


def _labels(compared: Compared, gains: Gains | None) -> tuple[LabelVerdict, ...]:
    """Returns the comparison of each label that the held-out images show."""
    before = {row.label: row.mask_map for row in compared.champion.labels} if compared.champion else {}
    intervals = {label: gain.interval(SHOWN_CONFIDENCE) for label, gain in gains.labels.items()} if gains else {}
    return tuple(
        LabelVerdict(row.label, row.instances, row.mask_map, before.get(row.label), intervals.get(row.label))
        for row in compared.own.labels
        if row.mask_map is not None
    )


def _average_precisions(label_verdict: LabelVerdict) -> tuple[float, float]:
    return label_verdict.challenger, label_verdict.champion or 0.0


def _defined(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.sort(values[~np.isnan(values)])
