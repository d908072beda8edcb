from __future__ import annotations

import pytest

from backend.domain import LabelledMask
from benchmarks.flywheel.matching import match
from tests.benchmarks.flywheel.blocks import region

TRUTH = (region("saree", 10), region("blouse", 50))

# what is shown, the number of the region that each garment gets, the numbers of what is deleted, which are relabelled
SHOWN: list[tuple[tuple[LabelledMask, ...], list[int | None], list[int], list[bool]]] = [
    ((), [None, None], [], [False, False]),
    (TRUTH, [0, 1], [], [False, False]),
    # a border that is off, but whose garment it is: IoU 0.54
    ((region("saree", 16), TRUTH[1]), [0, 1], [], [False, False]),
    # too far off to be the garment: IoU 0.43
    ((region("saree", 18), TRUTH[1]), [None, 1], [0], [False, False]),
    # the wrong label, and that with a wrong border
    ((region("kurta", 10), TRUTH[1]), [0, 1], [], [True, False]),
    ((region("kurta", 12), TRUTH[1]), [0, 1], [], [True, False]),
    # found nowhere
    ((*TRUTH, region("shawl", 75, 10)), [0, 1], [2], [False, False]),
    # one garment under two labels, the wrong one first
    ((region("kurta", 10), *TRUTH), [1, 2], [0], [False, False]),
    # one garment twice: the better one stays
    ((region("saree", 12), *TRUTH), [1, 2], [0], [False, False]),
    # a right border under the wrong label goes before a wrong one under the right label
    ((region("saree", 14), region("kurta", 10), TRUTH[1]), [1, 2], [0], [True, False]),
    # labels exchanged: both borders are right
    ((region("blouse", 10), region("saree", 50)), [0, 1], [], [True, True]),
]


@pytest.mark.parametrize(("shown", "regions", "deleted", "relabelled"), SHOWN)
def test_each_garment_gets_the_region_with_the_fewest_faults(
    shown: tuple[LabelledMask, ...], regions: list[int | None], deleted: list[int], relabelled: list[bool]
) -> None:
    meant, left = match(shown, TRUTH)
    # Masks are compared by what they are, not by their pixels.
    numbers = {id(one): number for number, one in enumerate(shown)}
    assert [id(one.garment) for one in meant] == [id(garment) for garment in TRUTH]
    assert [None if one.shown is None else numbers[id(one.shown)] for one in meant] == regions
    assert [numbers[id(one)] for one in left] == deleted
    assert [one.is_relabelled for one in meant] == relabelled
    assert [one.shown_iou is None for one in meant] == [number is None for number in regions]


def test_an_image_without_garments_has_its_regions_deleted() -> None:
    assert match((), ()) == ((), ())
    meant, left = match(TRUTH, ())
    assert meant == () and [one.label for one in left] == ["saree", "blouse"]
