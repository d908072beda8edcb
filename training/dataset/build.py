"""Approved annotations → a YOLO segmentation data set on disk, with its manifest."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from backend.domain import Image
from backend.errors import DatasetError, ImageError
from backend.label_studio.label_config import LabelConfig
from backend.storage.atomic_files import HALF, whole_folder
from training.annotations.approvals import Approved
from training.dataset.examples import Example, Examples
from training.dataset.manifest import DatasetManifest, Entry, all_placed
from training.dataset.sampling import copies, hard_weight, repeat_factors
from training.dataset.split import Photograph, Side, split

logger = logging.getLogger(__name__)

_Made = tuple[Approved, Example]

# So many images without garments are kept, of those with garments.
NEGATIVE_SHARE = 0.1


@dataclass(frozen=True)
class Dataset:
    """What was built.

    Attributes:
        data_yaml: the file that Ultralytics trains from.
        learnt: annotation id → content hash of what is in it or was left out as unusable: none of it counts as new.
        held_out: what is validated on and never trained on.
    """

    data_yaml: Path
    manifest: DatasetManifest
    learnt: dict[str, str] = field(default_factory=dict)
    held_out: tuple[Approved, ...] = ()

    def images(self, side: Side) -> int:
        """How many images are on a side."""
        return sum(entry.side == side for entry in self.manifest.entries)


def classes_for(config: LabelConfig, known: Sequence[str]) -> tuple[str, ...]:
    """The labels of the config in an order that stays: those that the model knows as it knows them, then the others.

    Args:
        known: the classes of the model that is trained on, in its order; a renamed one keeps its place.
    """
    kept = [label for name in known if (label := config.label_for(name)) is not None]
    return tuple(dict.fromkeys([*kept, *config.label_values]))


def build_dataset(
    approved: Sequence[Approved],
    config: LabelConfig,
    *,
    folder: Path,
    load: Callable[[Approved], Image],
    image_size_px: int,
    known_classes: Sequence[str] = (),
    earlier: DatasetManifest | None = None,
    hard_example_weight: float = 1.0,
    rare_label_share: float = 0.0,
) -> Dataset:
    """Writes the data set into `folder`, replacing what is there in one step; the same again gives the same bytes.

    What was made of an annotation before is kept beside it, in `<folder>.examples`, and not made again.

    Args:
        load: gives the image of an annotation's task, its longer side at most `image_size_px`; its `ImageError` leaves
            that one out.
        known_classes: those of the model that training starts from.
        earlier: what that model's line was trained on: its images keep their sides.
        hard_example_weight: how often an image is drawn that the model got all wrong.
        rare_label_share: labels in fewer images than this share are drawn more often; see `emphasis`.

    Raises:
        DatasetError: nothing usable was approved.
        LabelStudioError: Label Studio, which keeps the images, is away.
    """
    classes = classes_for(config, known_classes)
    kept = Examples(folder.with_name(f"{folder.name}.examples"), config, image_size_px=image_size_px)
    made, left_out = _make(approved, kept, load)
    if not any(example.labels for _, example in made):
        raise DatasetError(
            f"None of the {len(approved)} approved annotations can be trained on. " + " ".join(left_out[:3])
        )
    sides = split(
        [Photograph(one.image_key, int(one.phash, 16), frozenset(one.labels)) for _, one in made],
        earlier.placed if earlier else {},
    )
    made = _with_few_negatives(made, sides, left_out)
    rarity = repeat_factors(_labels_by_image(made, sides, "train"), rare_share=rare_label_share)
    entries = tuple(
        _entry(
            one,
            example,
            classes,
            side=sides[example.image_key],
            weight=hard_weight(example.disagreed, most=hard_example_weight) * rarity.get(example.image_key, 1.0),
        )
        for one, example in made
    )
    manifest = DatasetManifest(classes, image_size_px, entries, tuple(left_out), all_placed(entries, earlier))
    _write(manifest, [example for _, example in made], kept, folder)
    kept.forget_the_rest()
    for sentence in left_out:
        logger.warning("Left out of training: %s", sentence)
    return Dataset(
        data_yaml=folder / "data.yaml",
        manifest=manifest,
        learnt={str(one.annotation_id): one.content_hash for one in approved},
        held_out=tuple(one for one, example in made if sides[example.image_key] == "val"),
    )


def _make(
    approved: Sequence[Approved], kept: Examples, load: Callable[[Approved], Image]
) -> tuple[list[_Made], list[str]]:
    """The examples that can be used, and a sentence for everything else."""
    made: list[_Made] = []
    left_out: list[str] = []
    for one in sorted(approved, key=lambda one: one.task_id):
        where = f"annotation {one.annotation_id} of task {one.task_id}"
        try:
            example = kept.make(one, load)
        except ImageError as e:
            left_out.append(f"{where}: {e}")
            continue
        left_out += [f"{where}: {problem}" for problem in example.problems]
        if example.is_usable:
            made.append((one, example))
        else:
            left_out.append(f"{where}: no usable regions; counted as reviewed.")
    return made, left_out


def _with_few_negatives(made: list[_Made], sides: Mapping[str, Side], left_out: list[str]) -> list[_Made]:
    """Without images that show no garment, but for a tenth of each side: they teach little, and soon teach nothing."""
    kept: set[int] = set()
    for side in ("train", "val"):
        here = [(one, example) for one, example in made if sides[example.image_key] == side]
        empty = sorted((example.image_key, one.task_id) for one, example in here if not example.labels)
        room = round(NEGATIVE_SHARE * (len(here) - len(empty)))
        kept |= {task_id for _, task_id in empty[:room]}
        left_out += [
            f"task {task_id}: shows no garment, and a tenth of such images is enough." for _, task_id in empty[room:]
        ]
    return [(one, example) for one, example in made if example.labels or one.task_id in kept]


def _labels_by_image(made: Sequence[_Made], sides: Mapping[str, Side], side: Side) -> dict[str, set[str]]:
    labels: dict[str, set[str]] = {}
    for _, example in made:
        if sides[example.image_key] == side:
            labels.setdefault(example.image_key, set()).update(example.labels)
    return labels


def _entry(one: Approved, example: Example, classes: tuple[str, ...], *, side: Side, weight: float) -> Entry:
    return Entry(
        annotation_id=one.annotation_id,
        task_id=one.task_id,
        content_hash=one.content_hash,
        image_key=example.image_key,
        phash=example.phash,
        side=side,
        disagreed=example.disagreed,
        weight=round(weight, 4) if side == "train" else 1.0,
        copies=copies(weight, example.image_key) if side == "train" else 1,
        labels=example.labels,
        lines_sha256=hashlib.sha256(example.lines(classes).encode()).hexdigest(),
    )


def _write(manifest: DatasetManifest, examples: Sequence[Example], kept: Examples, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # One training a project at a time: whoever left these is dead.
    for left in folder.parent.glob(f"{HALF}*"):
        shutil.rmtree(left, ignore_errors=True)
    with whole_folder(folder) as half:
        for kind in ("images", "labels"):
            (half / kind).mkdir()
        listed: dict[Side, list[str]] = {"train": [], "val": []}
        for entry, example in zip(manifest.entries, examples, strict=True):
            name = f"task_{entry.task_id}"
            _link(kept.picture(example), half / "images" / f"{name}.jpg")
            (half / "labels" / f"{name}.txt").write_text(example.lines(manifest.classes))
            listed[entry.side] += [f"./images/{name}.jpg"] * entry.copies
        for side, lines in listed.items():
            (half / f"{side}.txt").write_text("\n".join(lines) + "\n")
        layout = {
            "path": str(folder.resolve()),
            "train": "train.txt",
            # A lone image is judged on itself: Ultralytics will not go without.
            "val": "val.txt" if listed["val"] else "train.txt",
            "names": dict(enumerate(manifest.classes)),
        }
        (half / "data.yaml").write_text(yaml.safe_dump(layout, sort_keys=False, allow_unicode=True))
        (half / "manifest.json").write_text(json.dumps(manifest.as_facts(), indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Some file systems have no links.
        shutil.copyfile(source, target)
