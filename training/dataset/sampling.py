"""How often an image is drawn in training: what the model got wrong more often, and what is rare."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from backend.domain import LabelledMask
from training.metrics.matching import garment_ious

# Two masks are one garment from here on: above a half no mask can match two.
SAME_IOU = 0.5


def disagreement(shown: Sequence[LabelledMask], approved: Sequence[LabelledMask]) -> float:
    """How far a prediction was from what a person made of it, in `[0, 1]`; 0 where nothing had to be done.

    One less the panoptic quality (Kirillov et al. 2019): the sum of IoU over garments that match (IoU above a half,
    same label), over their number and half of what was missed or false. A garment under a wrong label is both.
    """
    if not shown and not approved:
        return 0.0
    matched = [iou for iou in garment_ious(approved, shown) if iou > SAME_IOU]
    unmatched = len(shown) + len(approved) - 2 * len(matched)
    return 1 - sum(matched) / (len(matched) + unmatched / 2)


def hard_weight(disagreed: float | None, *, most: float) -> float:
    """How often a hard example is drawn, between 1 and `most`; 1 where nobody was shown a prediction."""
    return 1.0 if disagreed is None else 1 + (most - 1) * disagreed


def repeat_factors(images: Mapping[str, Iterable[str]], *, rare_share: float) -> dict[str, float]:
    """Image → how often it is drawn so that rare labels are seen, at least 1 (LVIS: Gupta et al. 2019, sec. 4.2).

    Of a label's own factor, `max(1, sqrt(t / f))` where a share `f` of the images shows it, an image has the largest.

    Args:
        images: image → labels of its garments.
        rare_share: `t`; labels in fewer images than this share are drawn more often.
    """
    labels = {key: set(shown) for key, shown in images.items()}
    counts = Counter(label for shown in labels.values() for label in shown)
    factor = {label: max(1.0, math.sqrt(rare_share * len(labels) / count)) for label, count in counts.items()}
    return {key: max((factor[label] for label in shown), default=1.0) for key, shown in labels.items()}


def copies(weight: float, key: str) -> int:
    """How often an image stands in the list that is drawn from: its weight, rounded up or down by chance of its key.

    Args:
        key: 64 hex digits, such as a SHA-256; the same image is always rounded the same way.
    """
    whole = math.floor(weight)
    chance = int(key[:8], 16) / 2**32
    return whole + int(chance < float(np.round(weight - whole, 9)))
