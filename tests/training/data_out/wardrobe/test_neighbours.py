"""What goes with a garment: the same label, like colours, another photograph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from training.data_out.cutouts import Cutout
from training.data_out.wardrobe.neighbours import (
    MAX_DISTANCE,
    MOST_NEIGHBOURS,
    Neighbour,
    find_neighbours,
    palette_distances,
)


def cutout(task: int, label: str, *colours: str, shares: Sequence[float] = (), garment: int = 1) -> Cutout:
    """A row of the table, with these colours in like shares, if no others are given."""
    parts = shares or [1 / len(colours)] * len(colours) if colours else []
    return Cutout(
        task=task,
        image=f"{task}_x",
        garment=garment,
        label=label,
        x=0,
        y=0,
        width=4,
        height=6,
        area_px=24,
        colours=",".join("red" for _ in colours),
        hex_colours=",".join(colours),
        colour_shares=",".join(f"{share:.2f}" for share in parts),
        by="person",
        score=None,
        made_at="",
        file="cutouts/x.png",
    )


def rows(found: Sequence[Neighbour]) -> list[int]:
    return [neighbour.row for neighbour in found]


def test_the_nearest_of_the_label_come_first() -> None:
    cutouts = [
        cutout(1, "saree", "#c01020"),
        cutout(2, "saree", "#b00818"),
        cutout(3, "saree", "#c01022"),
        # Another label, another colour, and the same photograph.
        cutout(4, "blouse", "#c01020"),
        cutout(5, "saree", "#1020c0"),
        cutout(1, "saree", "#c01020", garment=2),
    ]
    found = find_neighbours(cutouts)
    assert rows(found[0]) == [2, 1]
    assert found[0][0].distance < found[0][1].distance < MAX_DISTANCE
    assert rows(found[3]) == rows(found[4]) == []
    assert rows(found[1]) == [0, 5, 2]


def test_a_striped_garment_goes_with_striped_ones() -> None:
    cutouts = [
        cutout(1, "top", "#000000", "#ffffff"),
        cutout(2, "top", "#0a0a0a", "#f8f8f8"),
        # Its mean colour is that of the stripes, but nobody would call it like them.
        cutout(3, "top", "#808080"),
        cutout(4, "top", "#000000"),
    ]
    assert rows(find_neighbours(cutouts)[0]) == [1]


def test_a_garment_without_a_colour_goes_with_nothing() -> None:
    cutouts = [cutout(1, "top"), cutout(2, "top"), cutout(3, "top", "#000000")]
    assert find_neighbours(cutouts) == [(), (), ()]
    assert find_neighbours([]) == []


def test_there_are_only_so_many_and_progress_is_told() -> None:
    told: list[int] = []

    def track(numbers: Sequence[int]) -> Iterable[int]:
        for number in numbers:
            told.append(number)
            yield number

    found = find_neighbours([cutout(task, "top", "#000000") for task in range(30)], track=track)
    assert {len(neighbours) for neighbours in found} == {MOST_NEIGHBOURS}
    assert told == list(range(30))


def test_shares_weigh_and_the_distance_is_the_same_in_both_directions() -> None:
    black, white, none = (0.0, 0.0, 0.0), (100.0, 0.0, 0.0), (50.0, 80.0, 0.0)
    lab = np.array([[black, white, none], [black, none, none]], np.float32)
    shares = np.array([[0.75, 0.25, 0], [1, 0, 0]], np.float32)
    # From the first: a quarter is white, 100 away from black. From the second: black is there.
    (there,) = palette_distances(lab[0], shares[0], lab[1:], shares[1:])
    (back,) = palette_distances(lab[1], shares[1], lab[:1], shares[:1])
    assert there == pytest.approx(12.5, abs=0.01)
    assert back == pytest.approx(there)
