"""Compares champion and challenger on the same held-out images, and decides on promotion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.detector.average_precision import average_precisions, instances
from backend.domain import LabelledMask, Scene
from backend.registry.scores import Compared
from backend.registry.verdict import LabelVerdict, Verdict

# With fewer held-out garments a label's average precision is too uncertain to stop a promotion.
MIN_INSTANCES = 10
RESAMPLES = 200


def decide_promotion(
    compared: Compared,
    gain_95: tuple[float, float] | None,
    *,
    champion_name: str | None,
    margin: float,
    max_class_drop: float,
) -> Verdict:
    """Decides whether the challenger is promoted, and why.

    It is promoted if its mask mAP50-95 is higher by more than `margin`, and no label with at least ten garments loses
    more than `max_class_drop` of its average precision. It is also promoted if there is no champion, or no ground truth
    to evaluate on.

    Args:
        compared: the challenger's metrics, and the champion's if it could be evaluated.
        gain_95: the result of `paired_bootstrap`.
    """
    new, old = compared.own, compared.champion
    if new.mask_map is None:
        return Verdict(True, "No approved image was held out to evaluate it on.", new.images, champion_name)
    labels = _labels(compared)
    if old is None:
        reason = f"{champion_name} does not load." if champion_name else "It is the project's first model."
        return Verdict(True, reason, new.images, champion_name, new.mask_map, labels=labels)
    promoted, reason = _decide(
        labels, str(champion_name), images=new.images, margin=margin, max_class_drop=max_class_drop
    )
    return Verdict(promoted, reason, new.images, champion_name, new.mask_map, old.mask_map, gain_95, labels)


def paired_bootstrap(
    truth: Sequence[Sequence[LabelledMask]], challenger: Sequence[Scene], champion: Sequence[Scene], *, seed: int = 0
) -> tuple[float, float] | None:
    """Returns the 95 % interval of the gain in mask mAP, challenger minus champion (percentile bootstrap, Efron 1979).

    Each resample draws images with replacement, the same images for both models.

    Args:
        truth: the ground truth of each held-out image.
        challenger, champion: the detections of each in the same images; masks have the ground truth's size.

    Returns:
        The lower and upper end of the interval; None if no image has ground truth.
    """
    if not any(truth):
        return None
    truth_instances = [instances(masks) for masks in truth]
    detected = [[instances(scene.detections) for scene in scenes] for scenes in (challenger, champion)]
    rng = np.random.default_rng(seed)
    gains = []
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(truth), len(truth))
        drawn_truth = [truth_instances[image] for image in drawn]
        if any(drawn_truth):
            new, old = ([instances_by_image[image] for image in drawn] for instances_by_image in detected)
            gains.append(_mean(average_precisions(drawn_truth, new)) - _mean(average_precisions(drawn_truth, old)))
    low, high = np.percentile(gains, [2.5, 97.5])
    return float(low), float(high)


def _decide(
    labels: Sequence[LabelVerdict], champion: str, *, images: int, margin: float, max_class_drop: float
) -> tuple[bool, str]:
    new, old = (float(np.mean(values)) for values in zip(*map(_average_precisions, labels), strict=True))
    compared = f"Its mask mAP50-95 is {new:.3f}, that of {champion} {old:.3f}, on {images} held-out images"
    if new - old <= margin:
        return False, f"{compared}: not higher by more than {margin:g}."
    worse = [
        f"{label_verdict.label} from {was:.3f} to {now:.3f}"
        for label_verdict in labels
        for now, was in [_average_precisions(label_verdict)]
        if label_verdict.instances >= MIN_INSTANCES and was - now > max_class_drop
    ]
    if worse:
        return False, f"{compared}; but it loses more than {max_class_drop:g} on {', '.join(worse)}."
    return True, f"{compared}."


def _labels(compared: Compared) -> tuple[LabelVerdict, ...]:
    """Returns the comparison of each label that the held-out images show."""
    before = {row.label: row.mask_map for row in compared.champion.labels} if compared.champion else {}
    return tuple(
        LabelVerdict(row.label, row.instances, row.mask_map, before.get(row.label))
        for row in compared.own.labels
        if row.mask_map is not None
    )


def _average_precisions(label_verdict: LabelVerdict) -> tuple[float, float]:
    return label_verdict.challenger, label_verdict.champion or 0.0


def _mean(by_label: dict[str, float]) -> float:
    return float(np.mean(list(by_label.values())))
