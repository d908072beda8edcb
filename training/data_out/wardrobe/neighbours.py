"""Finds the garments that go with each: those of the same label and like colours, in other photographs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data_out.colour_names import lab_of
from training.data_out.cutouts import Cutout
from training.data_out.wardrobe.colour_distance import Distances, ciede2000

MOST_NEIGHBOURS = 12
# CIEDE2000. By eye, on street photographs: beyond it, few would call the colours of two garments alike.
MAX_DISTANCE = 12.0
# Further colours cover little of a garment.
MAX_COLOURS = 3


@dataclass(frozen=True)
class Neighbour:
    """A garment that goes with another: its row in the table, and the distance of their colours (CIEDE2000)."""

    row: int
    distance: float


def find_neighbours(
    cutouts: Sequence[Cutout], *, track: Callable[[Sequence[int]], Iterable[int]] = iter
) -> list[tuple[Neighbour, ...]]:
    """Returns the neighbours of each garment, the nearest first; none for a garment without a like one.

    Args:
        track: takes the garments' rows, yields them one at a time, and may show the progress.
    """
    lab, shares = _colours(cutouts)
    tasks = np.array([cutout.task for cutout in cutouts])
    by_label: dict[str, list[int]] = defaultdict(list)
    for row, cutout in enumerate(cutouts):
        by_label[cutout.label].append(row)
    same_label = {label: np.array(rows) for label, rows in by_label.items()}
    found = []
    for row in track(range(len(cutouts))):
        others = same_label[cutouts[row].label]
        others = others[tasks[others] != tasks[row]]
        distances = palette_distances(lab[row], shares[row], lab[others], shares[others])
        nearest = np.argsort(distances, kind="stable")[:MOST_NEIGHBOURS]
        found.append(
            tuple(
                Neighbour(int(others[one]), round(float(distances[one]), 1))
                for one in nearest
                if distances[one] <= MAX_DISTANCE
            )
        )
    return found


def palette_distances(
    lab: npt.NDArray[np.float32],
    shares: npt.NDArray[np.float32],
    others_lab: npt.NDArray[np.float32],
    others_shares: npt.NDArray[np.float32],
) -> Distances:
    """Returns the distances of a garment's colours from those of N others, `(N,)`; infinite for one without a colour.

    Each colour of one garment is compared with the nearest of the other's; the distance is the mean of these, weighted
    by the colours' shares, over both directions.

    Args:
        lab, others_lab: CIELAB colours `(K, 3)` and `(N, K, 3)`.
        shares, others_shares: shares `(K,)` and `(N, K)` that sum to 1 for each garment; 0 where it has no K-th colour.
    """
    pairs = ciede2000(lab[None, :, None], others_lab[:, None, :])
    missing = (shares[None, :, None] == 0) | (others_shares[:, None, :] == 0)
    pairs = np.where(missing, np.inf, pairs)
    there, back = pairs.min(axis=2), pairs.min(axis=1)
    empty = (shares.sum() == 0) | (others_shares.sum(axis=1) == 0)
    directions = ((shares[None], there), (others_shares, back))
    # Without a colour there is no distance to weight: 0 times infinity is not a number.
    both = sum((share * np.where(share > 0, nearest, 0)).sum(axis=1) for share, nearest in directions)
    return np.where(empty, np.inf, both / 2)


def _colours(cutouts: Sequence[Cutout]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns the garments' main colours, CIELAB `(N, K, 3)`, and their shares `(N, K)`."""
    lab = np.zeros((len(cutouts), MAX_COLOURS, 3), np.float32)
    shares = np.zeros((len(cutouts), MAX_COLOURS), np.float32)
    for row, cutout in enumerate(cutouts):
        colours = cutout.hex_colours.split(",")[:MAX_COLOURS] if cutout.hex_colours else []
        if colours:
            lab[row, : len(colours)] = lab_of(colours)
            shares[row, : len(colours)] = [float(share) for share in cutout.colour_shares.split(",")[:MAX_COLOURS]]
            shares[row] /= shares[row].sum()
    return lab, shares
