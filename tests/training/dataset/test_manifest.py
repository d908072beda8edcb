"""Two manifests that placed images differently."""

from __future__ import annotations

from training.dataset.manifest import DatasetManifest, Entry, joined
from training.dataset.split import KnownSide, Side


def manifest(**sides: Side) -> DatasetManifest:
    """A manifest of images by key."""
    entries = tuple(
        Entry(ord(key), ord(key), "", key, (), side, None, 1.0, 1, ("saree",), "") for key, side in sides.items()
    )
    return DatasetManifest(("saree",), 64, entries, (), {key: KnownSide((), side) for key, side in sides.items()})


def test_what_either_trains_on_does_not_judge_and_what_only_one_knows_keeps_its_side() -> None:
    own = manifest(a="train", b="val", c="val", d="train")
    other = manifest(a="val", b="train", c="val", e="val", f="train")
    both = joined(own, other)
    expected = {"a": "train", "b": "train", "c": "val", "d": "train", "e": "val", "f": "train"}
    assert {one.image_key: one.side for one in both.entries} == expected
    assert {key: known.side for key, known in both.placed.items()} == expected
    assert [one.task_id for one in both.entries] == sorted(map(ord, expected))
    assert joined(own, None) == own
