"""Two manifests that placed images differently."""

from __future__ import annotations

from training.dataset.manifest import DatasetManifest, Entry, with_sides_of
from training.dataset.split import KnownSide, Side


def manifest(**sides: Side) -> DatasetManifest:
    """A manifest of images by key."""
    entries = tuple(
        Entry(number, number, "", key, (), side, None, 1.0, 1, ("saree",), "")
        for number, (key, side) in enumerate(sides.items())
    )
    return DatasetManifest(("saree",), 64, entries, (), {key: KnownSide((), side) for key, side in sides.items()})


def test_what_either_trains_on_does_not_judge_and_what_only_one_knows_keeps_its_side() -> None:
    own = manifest(a="train", b="val", c="val", d="train")
    other = manifest(a="val", b="train", c="val", e="val", f="train")
    both = with_sides_of(own, other)
    assert {one.image_key: one.side for one in both.entries} == {"a": "train", "b": "train", "c": "val", "d": "train"}
    assert {key: known.side for key, known in both.placed.items()} == {
        "a": "train",
        "b": "train",
        "c": "val",
        "d": "train",
        "e": "val",
        "f": "train",
    }
    assert with_sides_of(own, None) == own
