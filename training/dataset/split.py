"""Splits images into those that are trained on and those that are held out; an image keeps its side permanently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Side = Literal["train", "val"]

VAL_SHARE = 0.2
# The most bits, of 64, in which the perceptual hashes of two photographs of the same scene differ. Measured: a
# photograph that was saved again, downscaled, cropped by some pixels or brightened differs in 6 at most; of 45,000
# pairs of drawn figures, which are more similar than photographs, none differs in fewer than 8. With all views of
# `perceptual_hashes` no pair of 300 street photographs is joined, all their mirror images and turns by 3 degrees are
# found, and 59 % of random crops by a tenth (5 % by the picture's own hash alone).
MAX_DIFFERENT_BITS = 6
# The first hashes of an image are of the whole of it: as it is, and mirrored.
WHOLE_VIEWS = 2
# Counted like labels.
NO_GARMENT, EVERY_IMAGE = "", "\0every image"
# The most pairs of hashes that are compared in one step: as many as a processor's cache holds, which is five times as
# fast as one that it does not.
BATCH_PAIRS = 2**17


@dataclass(frozen=True)
class Photograph:
    """The properties of an image that decide its side.

    Attributes:
        key: SHA-256 of the file, 64 hex digits.
        hashes: perceptual hashes of 64 bits, see `perceptual_hashes`.
        labels: the labels of its garments.
        groups: the names of what it belongs to by `SPLIT_BY`; several if several tasks show it.
    """

    key: str
    hashes: tuple[int, ...]
    labels: frozenset[str] = frozenset()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownSide:
    """The side of an image since an earlier training, its perceptual hashes, and its groups by `SPLIT_BY`."""

    hashes: tuple[int, ...]
    side: Side
    groups: tuple[str, ...] = ()


def split(photographs: Iterable[Photograph], placed: Mapping[str, KnownSide]) -> dict[str, Side]:
    """Assigns each image a side: image key → side.

    An image keeps the side that it had, and images that look similar, or are of one group by name, get the same side
    (`val` if they belong to images of both). Of the others a fifth is held out, as nearly as possible of each label,
    and at least one image of each label that two images show (iterative stratification, rarest labels first: Sechidis
    et al. 2011). Several images that belong together are held out only if that brings the share nearer to a fifth.
    Where nothing would be held out so, the smallest set of images that belong together is, if at least half of the
    images and one of each label remain for training. Only the images' content breaks ties, not the time or the order
    of tasks.

    Args:
        placed: image key → its side and perceptual hashes in earlier trainings.
    """
    images = sorted(
        {photograph.key: photograph for photograph in photographs}.values(), key=lambda photograph: photograph.key
    )
    sides: dict[str, Side] = {
        photograph.key: placed[photograph.key].side for photograph in images if photograph.key in placed
    }
    unplaced = [photograph for photograph in images if photograph.key not in placed]
    known_sides = _known_sides(images, unplaced, placed)
    groups = []
    for group in _belonging_together(unplaced):
        known = {side for photograph in group for side in known_sides.get(photograph.key, ())}
        if known:
            side: Side = "val" if "val" in known else "train"
            sides |= dict.fromkeys((photograph.key for photograph in group), side)
        else:
            groups.append(group)
    totals = _count_labels(images)
    held_out = _count_labels(photograph for photograph in images if sides.get(photograph.key) == "val")
    for_training = _count_labels(photograph for photograph in images if sides.get(photograph.key) == "train")
    # Groups with the rarest labels come first, because they can be placed in the fewest ways; of those the small ones,
    # because a large one alone may be more than a fifth.
    for group in sorted(
        groups,
        key=lambda group: (min(totals[label] for photograph in group for label in _labels(photograph)), len(group)),
    ):
        labels = _count_labels(group)
        side = "val" if _is_held_out(labels, totals, held_out, for_training) else "train"
        (held_out if side == "val" else for_training).update(labels)
        sides |= dict.fromkeys((photograph.key for photograph in group), side)
    if "val" not in sides.values():
        sides |= dict.fromkeys((photograph.key for photograph in _least_to_hold_out(groups, totals)), "val")
    return sides


def _least_to_hold_out(groups: Sequence[list[Photograph]], totals: Counter[str]) -> list[Photograph]:
    """Returns the smallest group that leaves half of the images, and an image of each label, for training; or none."""
    suitable = [
        group
        for group in groups
        if 2 * len(group) <= totals[EVERY_IMAGE]
        and all(totals[label] > count for label, count in _count_labels(group).items())
    ]
    return min(suitable, key=len, default=[])


def _is_held_out(
    labels: Counter[str], totals: Counter[str], held_out: Counter[str], for_training: Counter[str]
) -> bool:
    """Whether a group of images with these labels is to be held out, given the labels on both sides so far."""
    remaining = {label: totals[label] - held_out[label] - for_training[label] - labels[label] for label in labels}
    if any(for_training[label] + remaining[label] < 1 for label in labels):
        return False
    if labels[EVERY_IMAGE] > 1 and not _brings_nearer(labels[EVERY_IMAGE], held_out[EVERY_IMAGE], totals[EVERY_IMAGE]):
        return False
    if any(held_out[label] == 0 and totals[label] > 1 for label in labels):
        return True
    rarest = min(labels, key=lambda label: (totals[label], label))
    return _brings_nearer(labels[rarest], held_out[rarest], totals[rarest])


def _brings_nearer(more: int, held_out: int, total: int) -> bool:
    """Whether so many `more` images bring the held-out share of `total` images nearer to its goal."""
    goal = max(1.0, VAL_SHARE * total)
    return abs(held_out + more - goal) < abs(held_out - goal)


def _labels(photograph: Photograph) -> frozenset[str]:
    # Images without a garment are split like the images of a label.
    return (photograph.labels or frozenset({NO_GARMENT})) | {EVERY_IMAGE}


def _count_labels(photographs: Iterable[Photograph]) -> Counter[str]:
    return Counter(label for photograph in photographs for label in _labels(photograph))


def _belonging_together(images: Sequence[Photograph]) -> list[list[Photograph]]:
    """Groups the images that look similar or are of one group by name, directly or through others."""
    if not images:
        return []
    hashes = [photograph.hashes for photograph in images]
    similar = _similar_images(hashes, hashes)
    # Each member of a named group is joined with its first one.
    firsts: dict[str, int] = {}
    named = [
        (firsts.setdefault(name, number), number)
        for number, photograph in enumerate(images)
        for name in photograph.groups
    ]
    pairs = np.concatenate([np.stack(similar), np.array(named, np.int64).reshape(-1, 2).T], axis=1)
    graph = coo_array((np.ones(pairs.shape[1]), tuple(pairs)), shape=(len(images), len(images)))
    groups: dict[int, list[Photograph]] = {}
    for photograph, group in zip(images, connected_components(graph)[1].tolist(), strict=True):
        groups.setdefault(group, []).append(photograph)
    return list(groups.values())


def _known_sides(
    images: Sequence[Photograph], unplaced: Sequence[Photograph], placed: Mapping[str, KnownSide]
) -> dict[str, set[Side]]:
    """Returns the sides of the known images that an unplaced one looks similar to or is grouped with: key → sides."""
    known_images = list(placed.values())
    sides: dict[str, set[Side]] = {}
    pairs = _similar_images([image.hashes for image in unplaced], [image.hashes for image in known_images])
    for image, known in zip(*(numbers.tolist() for numbers in pairs), strict=True):
        sides.setdefault(unplaced[image].key, set()).add(known_images[known].side)
    # Groups are those that were stored, and those of today: the setting may be new.
    sides_of_groups: dict[str, set[Side]] = {}
    stored = [(known.groups, known.side) for known in known_images]
    for names, side in [*stored, *((image.groups, placed[image.key].side) for image in images if image.key in placed)]:
        for name in names:
            sides_of_groups.setdefault(name, set()).add(side)
    for image in unplaced:
        for name in image.groups:
            sides.setdefault(image.key, set()).update(sides_of_groups.get(name, ()))
    return sides


def as_integers(hashes: Iterable[str]) -> tuple[int, ...]:
    """Returns hashes of hex digits as numbers."""
    return tuple(int(digits, 16) for digits in hashes)


def _similar_images(
    first: Sequence[tuple[int, ...]], second: Sequence[tuple[int, ...]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the indices, in both lists, of the pairs of images that look similar; a pair may come several times.

    One of the two, or its mirror image, must be similar to the other, or to a view of it.
    """
    rows, columns = [], []
    # Of a list compared with itself, the second comparison would find each pair of the first again, turned round.
    for first_views, second_views in ((None, WHOLE_VIEWS), (WHOLE_VIEWS, None))[: 1 if first is second else 2]:
        (first_hashes, first_owners), (second_hashes, second_owners) = (
            _flat([hashes[:views] for hashes in images])
            for images, views in ((first, first_views), (second, second_views))
        )
        row, column = _similar_pairs(first_hashes, second_hashes)
        rows.append(first_owners[row])
        columns.append(second_owners[column])
    return np.concatenate(rows), np.concatenate(columns)


def _flat(images: Sequence[tuple[int, ...]]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Returns the hashes of all images, and the number of the image that each belongs to."""
    owners = np.repeat(np.arange(len(images)), np.array([len(hashes) for hashes in images], np.int64))
    return np.fromiter((value for hashes in images for value in hashes), np.uint64), owners


def _similar_pairs(
    first_hashes: npt.NDArray[np.uint64], second_hashes: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns the indices, in both arrays, of the pairs that differ in at most `MAX_DIFFERENT_BITS` bits."""
    rows = max(BATCH_PAIRS // max(len(second_hashes), 1), 1)
    matches = [
        start * len(second_hashes)
        + np.flatnonzero(
            np.bitwise_count(first_hashes[start : start + rows, None] ^ second_hashes[None, :]) <= MAX_DIFFERENT_BITS
        )
        for start in range(0, len(first_hashes), rows)
    ]
    row, column = np.divmod(np.concatenate([np.zeros(0, np.int64), *matches]), max(len(second_hashes), 1))
    return row, column
