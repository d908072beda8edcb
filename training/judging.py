"""Champion and challenger on the same held-out images: which of them the project works with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from backend.domain import LabelledMask, Scene
from backend.mask_map import Instance, average_precisions, instances
from backend.verdict import LabelVerdict, Verdict

# A label with fewer held-out garments says little of itself, and stops no promotion alone.
LEAST_INSTANCES = 10
RESAMPLES = 200

Found = Sequence[Sequence[Instance]]


def verdict_on(
    truth: Sequence[Sequence[LabelledMask]],
    challenger: Sequence[Scene],
    champion: Sequence[Scene] | None,
    *,
    champion_name: str | None,
    margin: float,
    most_lost: float,
) -> Verdict:
    """Whether the challenger takes the champion's place.

    It does where its mask mAP50-95 is higher by more than `margin`, and no label of at least ten garments loses more
    than `most_lost` of its average precision. Without a champion, or without anything to judge on, it does, too.

    Args:
        truth: what people approved in each held-out image.
        challenger, champion: what both found in the same images; masks have the truth's size. None where no champion
            could answer.
    """
    if not any(truth):
        return Verdict(True, "No approved image was held out to judge it on.", len(truth), champion_name)
    expected = [instances(ones) for ones in truth]
    counts = Counter(one.label for ones in expected for one in ones)
    new_found = [instances(scene.detections) for scene in challenger]
    new = average_precisions(expected, new_found)
    if champion is None:
        labels = tuple(LabelVerdict(label, counts[label], new[label], None) for label in new)
        reason = f"{champion_name} does not load." if champion_name else "It is the project's first model."
        return Verdict(True, reason, len(truth), champion_name, _mean(new), labels=labels)
    old_found = [instances(scene.detections) for scene in champion]
    old = average_precisions(expected, old_found)
    labels = tuple(LabelVerdict(label, counts[label], new[label], old[label]) for label in new)
    promoted, reason = _decide(labels, str(champion_name), images=len(truth), margin=margin, most_lost=most_lost)
    gain_95 = paired_bootstrap(expected, new_found, old_found)
    return Verdict(promoted, reason, len(truth), champion_name, _mean(new), _mean(old), gain_95, labels)


def paired_bootstrap(truth: Found, challenger: Found, champion: Found, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the difference in mask mAP, challenger less champion (Efron 1979, percentiles).

    Images are drawn again with replacement, the same for both models.
    """
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(truth), len(truth))
        expected = [truth[image] for image in drawn]
        if any(expected):
            new, old = ([found[image] for image in drawn] for found in (challenger, champion))
            gains.append(_mean(average_precisions(expected, new)) - _mean(average_precisions(expected, old)))
    low, high = np.percentile(gains, [2.5, 97.5])
    return float(low), float(high)


def _decide(
    labels: Sequence[LabelVerdict], champion: str, *, images: int, margin: float, most_lost: float
) -> tuple[bool, str]:
    new, old = (float(np.mean(values)) for values in zip(*map(_pair, labels), strict=True))
    compared = f"Its mask mAP50-95 is {new:.3f}, that of {champion} {old:.3f}, on {images} held-out images"
    if new - old <= margin:
        return False, f"{compared}: not higher by more than {margin:g}."
    worse = [
        f"{one.label} from {was:.3f} to {now:.3f}"
        for one in labels
        for now, was in [_pair(one)]
        if one.instances >= LEAST_INSTANCES and was - now > most_lost
    ]
    if worse:
        return False, f"{compared}; but it loses more than {most_lost:g} on {', '.join(worse)}."
    return True, f"{compared}."


def _pair(one: LabelVerdict) -> tuple[float, float]:
    return one.challenger, one.champion or 0.0


def _mean(by_label: dict[str, float]) -> float:
    return float(np.mean(list(by_label.values())))
