"""Builds a YOLO segmentation data set on disk, with its manifest, from approved annotations."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from backend.domain import Image
from backend.errors import DatasetError, ImageError
from backend.label_studio.label_config import LabelConfig
from backend.storage.atomic_files import STAGING_PREFIX, link_or_copy, staging_folder
from training.annotations.approvals import Approved
from training.dataset.examples import Example, ExampleCache
from training.dataset.manifest import DatasetManifest, Entry, merge_sides
from training.dataset.named_groups import named_group
from training.dataset.sampling import copies, hard_weight, repeat_factors
from training.dataset.split import Photograph, Side, as_integers, split

_AnnotatedExample = tuple[Approved, Example]

# The most images without garments, as a share of the images with garments, on each side.
NEGATIVE_SHARE = 0.1


@dataclass(frozen=True)
class Dataset:
    """A data set that was built.

    Attributes:
        data_yaml: the file that Ultralytics trains from.
        annotation_hashes: annotation id → content hash, also of unusable annotations: none of them counts as new.
        held_out: the annotations of the images that are held out.
    """

    data_yaml: Path
    manifest: DatasetManifest
    annotation_hashes: dict[str, str] = field(default_factory=dict)
    held_out: tuple[Approved, ...] = ()

    @property
    def drawn(self) -> int:
        """How many images an epoch of training draws; one that is drawn twice counts twice."""
        return sum(entry.copies for entry in self.manifest.entries if entry.side == "train")


def classes_for(config: LabelConfig, model_classes: Sequence[str]) -> tuple[str, ...]:
    """Returns the config's labels in a stable order: first those that the model knows, in its order, then the others.

    Args:
        model_classes: the classes of the model that training starts from, in order; a renamed class keeps its place.
    """
    known = [label for name in model_classes if (label := config.label_for(name)) is not None]
    return tuple(dict.fromkeys([*known, *config.label_values]))


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
    split_by: str = "",
    all_negatives: bool = False,
) -> Dataset:
    """Writes the data set beside `folder`, then renames it to `folder`; the same input gives the same bytes.

    Training examples are cached beside it, in `<folder>.examples`.

    Args:
        load: returns the image of an annotation's task, its longer side at most `image_size_px`; if it raises
            `ImageError`, the annotation is left out.
        known_classes: the classes of the model that training starts from.
        earlier: the manifest of the project's latest training: its images keep their sides.
        hard_example_weight: how often training draws an image in which the model got everything wrong.
        rare_label_share: labels in fewer images than this share are drawn more often; see `repeat_factors`.
        split_by: see `named_group`.
        all_negatives: whether to keep every image without garments, not only `NEGATIVE_SHARE` of them.

    Raises:
        DatasetError: no approved annotation is usable, or `split_by` finds a group for none, or one for all.
        LabelStudioError: Label Studio, which serves the images, is unreachable.
    """
    classes = classes_for(config, known_classes)
    cache = ExampleCache(folder.with_name(f"{folder.name}.examples"), config, image_size_px=image_size_px)
    examples, left_out = _make_examples(approved, cache, load)
    if not any(example.labels for _, example in examples):
        raise DatasetError(
            f"None of the {len(approved)} approved annotations has a usable garment. " + " ".join(left_out[:3])
        )
    groups = _named_groups(examples, config, split_by)
    sides = split(
        [
            Photograph(
                example.image_key,
                as_integers(example.hashes),
                frozenset(example.labels),
                groups.get(example.image_key, ()),
            )
            for _, example in examples
        ],
        earlier.placed if earlier else {},
    )
    if not all_negatives:
        examples = _limit_negatives(examples, sides, left_out)
    rarity = repeat_factors(_labels_by_image(examples, sides, "train"), rare_share=rare_label_share)
    entries = tuple(
        _entry(
            annotation,
            example,
            classes,
            side=sides[example.image_key],
            weight=hard_weight(example.disagreed, max_weight=hard_example_weight) * rarity.get(example.image_key, 1.0),
        )
        for annotation, example in examples
    )
    placed = merge_sides(entries, earlier, groups=groups)
    manifest = DatasetManifest(classes, image_size_px, entries, tuple(left_out), placed)
    _write(manifest, [example for _, example in examples], cache, folder)
    cache.remove_unused()
    return Dataset(
        data_yaml=folder / "data.yaml",
        manifest=manifest,
        annotation_hashes={str(annotation.annotation_id): annotation.content_hash for annotation in approved},
        held_out=tuple(annotation for annotation, example in examples if sides[example.image_key] == "val"),
    )


def _make_examples(
    approved: Sequence[Approved], cache: ExampleCache, load: Callable[[Approved], Image]
) -> tuple[list[_AnnotatedExample], list[str]]:
    """Returns the usable examples, and a sentence for each problem."""
    examples: list[_AnnotatedExample] = []
    left_out: list[str] = []
    for annotation in sorted(approved, key=lambda annotation: annotation.task_id):
        try:
            example = cache.get(annotation, load)
        except ImageError as e:
            left_out.append(f"{annotation.place}: {e}")
            continue
        left_out += [f"{annotation.place}: {problem}" for problem in example.problems]
        if example.is_usable:
            examples.append((annotation, example))
        elif example.labels:
            left_out.append(
                f"{annotation.place}: the whole image is left out, as garments without an outline would count as none."
            )
        else:
            left_out.append(f"{annotation.place}: no usable regions. It counts as reviewed.")
    return examples, left_out


def _named_groups(
    examples: Sequence[_AnnotatedExample], config: LabelConfig, split_by: str
) -> dict[str, tuple[str, ...]]:
    """Returns image key → the names of its groups, for images that have any.

    Raises:
        DatasetError: none has any, or all are in one. Images keep their sides permanently, so a mistyped setting must
            not place them.
    """
    groups: dict[str, tuple[str, ...]] = {}
    for annotation, example in examples:
        group = named_group(annotation.data, config, split_by=split_by)
        if group is not None:
            groups[example.image_key] = tuple(sorted({*groups.get(example.image_key, ()), group}))
    if split_by and not groups:
        raise DatasetError(
            f"SPLIT_BY={split_by} finds a group for none of the {len(examples)} approved images, such as that of task "
            f"{examples[0][0].task_id}. Correct it, or leave it empty to go by looks alone."
        )
    names = {name for of_image in groups.values() for name in of_image}
    images = {example.image_key for _, example in examples}
    if len(names) == 1 and groups.keys() == images and len(images) > 1:
        raise DatasetError(
            f"SPLIT_BY={split_by} puts all {len(images)} approved images into one group, '{names.pop()}', so that none "
            "can be held out. Correct it, leave it empty to go by looks alone, or approve images of other groups first."
        )
    return groups


def _limit_negatives(
    examples: list[_AnnotatedExample], sides: Mapping[str, Side], left_out: list[str]
) -> list[_AnnotatedExample]:
    """Drops images without garments beyond `NEGATIVE_SHARE` of each side: more of them teach the model nothing.

    Those to train on come first in which a prediction showed garments. Those that are held out are chosen by their
    keys alone: chosen by what the current model got wrong, they would speak against it.
    """
    kept_ids: set[int] = set()
    for side in ("train", "val"):
        on_side = [(annotation, example) for annotation, example in examples if sides[example.image_key] == side]
        empty = sorted(
            (-(example.disagreed or 0) if side == "train" else 0, example.image_key, annotation.task_id)
            for annotation, example in on_side
            if not example.labels
        )
        allowed = round(NEGATIVE_SHARE * (len(on_side) - len(empty)))
        kept_ids |= {task_id for _, _, task_id in empty[:allowed]}
        left_out += [
            f"task {task_id}: shows no garment. The data set has enough such images."
            for _, _, task_id in empty[allowed:]
        ]
    return [
        (annotation, example) for annotation, example in examples if example.labels or annotation.task_id in kept_ids
    ]


def _labels_by_image(
    examples: Sequence[_AnnotatedExample], sides: Mapping[str, Side], side: Side
) -> dict[str, set[str]]:
    labels: dict[str, set[str]] = {}
    for _, example in examples:
        if sides[example.image_key] == side:
            labels.setdefault(example.image_key, set()).update(example.labels)
    return labels


def _entry(annotation: Approved, example: Example, classes: tuple[str, ...], *, side: Side, weight: float) -> Entry:
    return Entry(
        annotation_id=annotation.annotation_id,
        task_id=annotation.task_id,
        content_hash=annotation.content_hash,
        image_key=example.image_key,
        hashes=example.hashes,
        side=side,
        disagreed=example.disagreed,
        weight=round(weight, 4) if side == "train" else 1.0,
        copies=copies(weight, example.image_key) if side == "train" else 1,
        labels=example.labels,
        lines_sha256=hashlib.sha256(example.lines(classes).encode()).hexdigest(),
    )


def _write(manifest: DatasetManifest, examples: Sequence[Example], cache: ExampleCache, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Only one training of a project runs at a time, so a killed one left these.
    for leftover in folder.parent.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with staging_folder(folder) as partial:
        for kind in ("images", "labels"):
            (partial / kind).mkdir()
        lists: dict[Side, list[str]] = {"train": [], "val": []}
        for entry, example in zip(manifest.entries, examples, strict=True):
            name = f"task_{entry.task_id}"
            link_or_copy(cache.picture(example), partial / "images" / f"{name}.jpg")
            # Linked, too: to make a file takes ten times as long.
            label_file = cache.label_file(example, manifest.classes, lines_sha256=entry.lines_sha256)
            link_or_copy(label_file, partial / "labels" / f"{name}.txt")
            lists[entry.side] += [f"./images/{name}.jpg"] * entry.copies
        for side, lines in lists.items():
            (partial / f"{side}.txt").write_text("\n".join(lines) + "\n")
        # Without a `path`, Ultralytics looks beside this file: the folder may be moved and packed.
        layout = {
            "train": "train.txt",
            # Ultralytics requires a validation set: a single image is validated on itself.
            "val": "val.txt" if lists["val"] else "train.txt",
            "names": dict(enumerate(manifest.classes)),
        }
        (partial / "data.yaml").write_text(yaml.safe_dump(layout, sort_keys=False, allow_unicode=True))
        (partial / "manifest.json").write_text(json.dumps(manifest.as_facts(), indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
