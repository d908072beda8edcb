"""Weights how often training draws an image: hard examples and rare labels more often."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from backend.domain import LabelledMask
from training.metrics.matching import garment_ious

# Two masks with a higher IoU are the same garment: above 0.5 no mask can match two disjoint ones.
SAME_IOU = 0.5


def disagreement(shown: Sequence[LabelledMask], approved: Sequence[LabelledMask]) -> float:
    """Returns how far a prediction was from the approved annotation, in `[0, 1]`; 0 if nothing had to be changed.

    This is 1 - panoptic quality (Kirillov et al. 2019): the sum of the IoU of matched garments (IoU above 0.5, same
    label), divided by their number plus half the missed and false ones. A wrong label is one missed and one false.
    """
    if not shown and not approved:
        return 0.0
    matched = [iou for iou in garment_ious(approved, shown) if iou > SAME_IOU]
    unmatched = len(shown) + len(approved) - 2 * len(matched)
    return 1 - sum(matched) / (len(matched) + unmatched / 2)


def hard_weight(disagreed: float | None, *, max_weight: float) -> float:
    """Returns how often to draw an example: 1 to `max_weight` by its disagreement; 1 if no prediction was shown."""
    return 1.0 if disagreed is None else 1 + (max_weight - 1) * disagreed


def repeat_factors(images: Mapping[str, Iterable[str]], *, rare_share: float) -> dict[str, float]:
    """Returns how often to draw each image to show rare labels, at least 1 (LVIS: Gupta et al. 2019, sec. 4.2).

    A label that a share `f` of the images shows has the factor `max(1, sqrt(t / f))`; an image has its labels' largest.

    Args:
        images: image key → labels of its garments.
        rare_share: `t`; labels in fewer images than this share are drawn more often.
    """
    labels = {key: set(image_labels) for key, image_labels in images.items()}
    counts = Counter(label for image_labels in labels.values() for label in image_labels)
    factors = {label: max(1.0, math.sqrt(rare_share * len(labels) / count)) for label, count in counts.items()}
    return {key: max((factors[label] for label in image_labels), default=1.0) for key, image_labels in labels.items()}


def copies(weight: float, key: str) -> int:
    """Returns how often the training list repeats an image: its weight, rounded up or down at random by its key.

    Args:
        key: 64 hex digits, such as a SHA-256; it is the source of chance, so an image is always rounded the same way.
    """
    floor = math.floor(weight)
    chance = int(key[:8], 16) / 2**32
    return floor + int(chance < float(np.round(weight - floor, 9)))
