"""Compares each approved annotation with the prediction that it began with, and caches the result."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from backend.label_studio.label_config import LabelConfig
from backend.regions.content_hash import content_hash
from backend.regions.decode import shapes
from backend.storage.atomic_files import write_atomically
from training.annotations.approvals import Approved
from training.annotations.truth import garment_labels, label_facts, truth_of
from training.metrics.matching import garment_ious

logger = logging.getLogger(__name__)

# Part of the cache key: increase it when the comparison changes, so that cached results are dropped.
RELEASE = 1
DIGITS = 4


@dataclass(frozen=True)
class Correction:
    """How an annotation differs from the prediction that it began with.

    Attributes:
        unchanged: both show the same garments, pixel by pixel.
        ious: the IoU of each garment, in `[0, 1]`: 0 for an added or removed garment.
    """

    unchanged: bool
    ious: tuple[float, ...]


_JSON = TypeAdapter(dict[str, Correction])


class CorrectionCache:
    """The corrections of one project, cached in a file that may be deleted at any time."""

    def __init__(self, path: Path, config: LabelConfig) -> None:
        self._path = path
        self._config = config
        self._config_facts = label_facts(config)

    def corrections(self, approved: Iterable[Approved], *, timeout_s: float) -> tuple[list[Correction], int]:
        """Returns corrections of annotations that began with a prediction, if Label Studio still has its regions.

        Holds the masks of one image at a time in memory.

        Args:
            timeout_s: seconds for comparing what is not cached; the rest is left to the next call.

        Returns:
            The corrections, and how many annotations are still to be compared.
        """
        cached, deadline = _read(self._path), time.monotonic() + timeout_s
        corrections: dict[str, Correction] = {}
        left = 0
        for annotation in approved:
            if not (annotation.by_person and annotation.from_prediction) or annotation.shown is None:
                continue
            name = self._name(annotation)
            if name in cached:
                corrections[name] = cached[name]
            elif time.monotonic() < deadline:
                corrections[name] = compared(annotation.shown, annotation.result, self._config)
            else:
                left += 1
        if corrections != cached:
            write_atomically(
                self._path, json.dumps({name: asdict(correction) for name, correction in corrections.items()})
            )
        return list(corrections.values()), left

    def _name(self, annotation: Approved) -> str:
        facts = [RELEASE, annotation.annotation_id, annotation.content_hash, annotation.shown_hash, self._config_facts]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def compared(
    shown: Sequence[Mapping[str, Any]], approved: Sequence[Mapping[str, Any]], config: LabelConfig
) -> Correction:
    """Compares the approved with the shown regions, for the image and the labels of the config."""
    if _shapes_hash(shown) == _shapes_hash(approved):
        # Equal regions have equal masks: none needs to be drawn.
        return Correction(True, (1.0,) * len(garment_labels(approved, config)))
    before, after = truth_of(shown, config).garments, truth_of(approved, config).garments
    # Label Studio's page may encode the same mask in different bytes.
    same = len(before) == len(after) and all(
        old.label == new.label and np.array_equal(old.mask, new.mask) for old, new in zip(before, after, strict=True)
    )
    return Correction(same, tuple(round(iou, DIGITS) for iou in garment_ious(before, after)))


def _shapes_hash(result: Sequence[Mapping[str, Any]]) -> str:
    """Returns the content hash without prompts and messages, which change although no garment does."""
    drawn = shapes(result)
    return content_hash(
        [
            region
            for number, region in enumerate(result)
            if str(region.get("id", number)) in drawn or region.get("type") == "relation"
        ]
    )


def _read(path: Path) -> dict[str, Correction]:
    try:
        return _JSON.validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        logger.warning("%s cannot be read. Everything is compared again: %s", path, e)
        return {}
