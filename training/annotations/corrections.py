"""What people made of what was shown to them: each annotation compared with its prediction, once."""

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
from backend.storage.atomic_files import write_whole
from training.annotations.approvals import Approved
from training.annotations.truth import garment_labels, label_facts, truth_of
from training.metrics.matching import garment_ious

logger = logging.getLogger(__name__)

# Goes up when the same annotation is to be compared otherwise.
RELEASE = 1
DIGITS = 4


@dataclass(frozen=True)
class Correction:
    """One annotation beside the prediction that it began with.

    Attributes:
        unchanged: both show the same garments, pixel by pixel.
        ious: of each garment, in `[0, 1]`: 0 of one that was added or removed.
    """

    unchanged: bool
    ious: tuple[float, ...]


_JSON = TypeAdapter(dict[str, Correction])


class CorrectionCache:
    """The corrections of one project; what was compared is kept in a file, which may be lost."""

    def __init__(self, path: Path, config: LabelConfig) -> None:
        self._path = path
        self._config = config
        self._of_config = label_facts(config)

    def of(self, approved: Iterable[Approved], *, patience_s: float) -> tuple[list[Correction], int]:
        """Those of the annotations that began with a prediction which Label Studio has kept.

        One image's masks are in memory at a time.

        Args:
            patience_s: for so long what is not kept is compared; what is left then is left to the next time.

        Returns:
            The corrections, and how many annotations are left.
        """
        kept, deadline = _read(self._path), time.monotonic() + patience_s
        known: dict[str, Correction] = {}
        left = 0
        for one in approved:
            if not (one.by_person and one.from_prediction) or one.shown is None:
                continue
            name = self._name(one)
            if name in kept:
                known[name] = kept[name]
            elif time.monotonic() < deadline:
                known[name] = compared(one.shown, one.result, self._config)
            else:
                left += 1
        if known != kept:
            write_whole(self._path, json.dumps({name: asdict(one) for name, one in known.items()}))
        return list(known.values()), left

    def _name(self, one: Approved) -> str:
        facts = [RELEASE, one.annotation_id, one.content_hash, one.shown_hash, self._of_config]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def compared(
    shown: Sequence[Mapping[str, Any]], approved: Sequence[Mapping[str, Any]], config: LabelConfig
) -> Correction:
    """What was approved beside what was shown: regions, in the image and under the labels of the config."""
    if _shapes_hash(shown) == _shapes_hash(approved):
        # No mask need be drawn.
        return Correction(True, (1.0,) * len(garment_labels(approved, config)))
    before, after = truth_of(shown, config).garments, truth_of(approved, config).garments
    # The page may write the same mask in other bytes.
    same = len(before) == len(after) and all(
        one.label == other.label and np.array_equal(one.mask, other.mask)
        for one, other in zip(before, after, strict=True)
    )
    return Correction(same, tuple(round(iou, DIGITS) for iou in garment_ious(before, after)))


def _shapes_hash(result: Sequence[Mapping[str, Any]]) -> str:
    """The content hash without prompts and messages, which come and go by themselves."""
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
        logger.warning("%s cannot be read, and all is compared anew: %s", path, e)
        return {}
