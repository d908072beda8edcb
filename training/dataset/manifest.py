"""What a model was trained and judged on: a data set's own description, which its hash names."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backend.registry.records import read_facts
from backend.registry.registry import Registry
from training.dataset.split import KnownSide, Side

# Where a version keeps it.
DATASET_FILE = "dataset.json"


@dataclass(frozen=True)
class Entry:
    """One approved annotation that is in the data set.

    Attributes:
        image_key: SHA-256 of the image file's bytes, 64 hex digits.
        phash: the image's perceptual hash, 16 hex digits.
        disagreed: how far the prediction that was shown was from it, in `[0, 1]`; None where none was.
        weight: how often it is drawn, for its hardness and the rareness of its labels together.
        copies: `weight`, rounded.
        labels: one a garment.
        lines_sha256: of its YOLO labels.
    """

    annotation_id: int
    task_id: int
    content_hash: str
    image_key: str
    phash: str
    side: Side
    disagreed: float | None
    weight: float
    copies: int
    labels: tuple[str, ...]
    lines_sha256: str


@dataclass(frozen=True)
class DatasetManifest:
    """A data set.

    Attributes:
        image_size_px: the longer side of its pictures, at most.
        entries: by task.
        left_out: a sentence for each annotation or region that is not in it.
        placed: image key → side and perceptual hash, of these images and of all that earlier ones of its line held.
    """

    classes: tuple[str, ...]
    image_size_px: int
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()
    placed: dict[str, KnownSide] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256, 64 hex digits, of everything that a training of it depends on."""
        shown = [self.classes, self.image_size_px, [asdict(entry) for entry in self.entries]]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()

    @property
    def instances(self) -> dict[str, dict[Side, int]]:
        """Class → garments on each side; every class is in it."""
        counts = Counter((label, entry.side) for entry in self.entries for label in entry.labels)
        sides: tuple[Side, Side] = "train", "val"
        return {label: {side: counts[label, side] for side in sides} for label in self.classes}

    def as_facts(self) -> dict[str, Any]:
        """For JSON."""
        return {"hash": self.digest, "instances": self.instances, **asdict(self)}


_JSON = TypeAdapter(DatasetManifest)


def read_manifest(facts: dict[str, Any] | None) -> DatasetManifest | None:
    """What `DatasetManifest.as_facts` gave; None of nothing, and of what is no manifest."""
    if facts is None:
        return None
    try:
        return _JSON.validate_python(facts)
    except ValidationError:
        return None


def latest_manifest(registry: Registry, project_id: int) -> DatasetManifest | None:
    """Of the newest of the project's versions that keeps one; None before the first."""
    for version in reversed(registry.versions(project_id)):
        manifest = read_manifest(read_facts(version, DATASET_FILE))
        if manifest is not None:
            return manifest
    return None


def all_placed(entries: Sequence[Entry], earlier: DatasetManifest | None) -> dict[str, KnownSide]:
    """Sides of the images of `entries`, and of those that the earlier data set knew: they may come back."""
    here = {entry.image_key: KnownSide(int(entry.phash, 16), entry.side) for entry in entries}
    return {**(earlier.placed if earlier else {}), **here}
