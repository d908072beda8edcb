"""The manifest of a data set: what a model was trained and validated on, identified by a hash."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from backend.registry.records import read_facts
from backend.registry.registry import Registry
from training.dataset.split import KnownSide, Side, as_integers

# The manifest's file in a version's folder.
DATASET_FILE = "dataset.json"


@dataclass(frozen=True)
class Entry:
    """An approved annotation in the data set.

    Attributes:
        image_key: SHA-256 of the image file's bytes, 64 hex digits.
        hashes: the image's perceptual hashes, see `perceptual_hashes`.
        disagreed: how far the shown prediction was from the annotation, in `[0, 1]`; None if none was shown.
        weight: how often training draws the image: the product of its weights for hardness and for rare labels.
        copies: `weight`, rounded up or down at random by the image's key.
        labels: the label of each garment.
        lines_sha256: SHA-256 of its YOLO label file.
    """

    annotation_id: int
    task_id: int
    content_hash: str
    image_key: str
    hashes: tuple[str, ...]
    side: Side
    disagreed: float | None
    weight: float
    copies: int
    labels: tuple[str, ...]
    lines_sha256: str


@dataclass(frozen=True)
class DatasetManifest:
    """The contents of a data set.

    Attributes:
        image_size_px: the maximum longer side of its pictures.
        entries: sorted by task id.
        left_out: a sentence for each annotation or region that was left out.
        placed: image key → side, perceptual hashes and groups, of these images and of all images in earlier data sets.
    """

    classes: tuple[str, ...]
    image_size_px: int
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()
    placed: dict[str, KnownSide] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256, 64 hex digits, of everything in the data set that a training depends on."""
        facts = [self.classes, self.image_size_px, list(map(vars, self.entries))]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def instances(self) -> dict[str, dict[Side, int]]:
        """Class → number of garments on each side, for every class."""
        counts = Counter((label, entry.side) for entry in self.entries for label in entry.labels)
        sides: tuple[Side, Side] = "train", "val"
        return {label: {side: counts[label, side] for side in sides} for label in self.classes}

    def as_facts(self) -> dict[str, Any]:
        """Returns the manifest as a dictionary for JSON."""
        # Not `asdict`, which copies each value of ten thousand entries.
        entries = [dict(vars(entry)) for entry in self.entries]
        placed = {key: dict(vars(known)) for key, known in self.placed.items()}
        return {"hash": self.digest, "instances": self.instances, **vars(self), "entries": entries, "placed": placed}


_JSON = TypeAdapter(DatasetManifest)


def read_manifest(facts: dict[str, Any] | None) -> DatasetManifest | None:
    """Reads the result of `DatasetManifest.as_facts`; None if there is none, or it is no valid manifest."""
    if facts is None:
        return None
    try:
        return _JSON.validate_python(facts)
    except ValidationError:
        return None


def latest_manifest(registry: Registry, project_id: int) -> DatasetManifest | None:
    """Returns the manifest of the project's newest version that has one; None if none has."""
    for version in reversed(registry.versions(project_id)):
        manifest = read_manifest(read_facts(version, DATASET_FILE))
        if manifest is not None:
            return manifest
    return None


def joined(manifest: DatasetManifest, other: DatasetManifest | None) -> DatasetManifest:
    """Returns a manifest with the images of another one, too; of a task in both it has its own entry.

    Two that know nothing of each other may have placed an image differently: what either trains on is trained on.
    """
    if other is None:
        return manifest
    learnt = {key for one in (manifest, other) for key, known in one.placed.items() if known.side == "train"}
    by_task = {entry.task_id: entry for entry in (*other.entries, *manifest.entries)}
    entries = [
        replace(entry, side="train") if entry.image_key in learnt else entry for _, entry in sorted(by_task.items())
    ]
    placed = {
        key: replace(known, side="train") if key in learnt else known
        for key, known in {**other.placed, **manifest.placed}.items()
    }
    return replace(manifest, entries=tuple(entries), placed=placed)


def merge_sides(
    entries: Sequence[Entry], earlier: DatasetManifest | None, *, groups: Mapping[str, tuple[str, ...]]
) -> dict[str, KnownSide]:
    """Returns the sides of the images of `entries` and of the earlier data set: such images may be approved again.

    Args:
        groups: image key → its groups by `SPLIT_BY`.
    """
    here = {
        entry.image_key: KnownSide(as_integers(entry.hashes), entry.side, groups.get(entry.image_key, ()))
        for entry in entries
    }
    return {**(earlier.placed if earlier else {}), **here}
