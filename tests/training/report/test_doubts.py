"""Approved annotations that a model contradicts: hand-made masks, one case a row."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from backend.domain import Detection, LabelledMask, Mask, Scene
from training.report.doubts import Doubt, EvaluatedImage, find_doubts

SHAPE = (40, 100)


def bar(left: int, right: int, *, bottom: int = 30) -> Mask:
    """Columns from `left` to `right` of 20 rows."""
    mask = np.zeros(SHAPE, bool)
    mask[10:bottom, left:right] = True
    return mask


def region(label: str, left: int, right: int, kind: str = "polygon") -> LabelledMask:
    return LabelledMask(bar(left, right), label, kind=kind)


def find(label: str, left: int, right: int, score: float = 0.9) -> Detection:
    return Detection(bar(left, right), label, score)


def case(truth: Sequence[LabelledMask], found: Sequence[Detection], task_id: int = 7) -> EvaluatedImage:
    return EvaluatedImage(task_id, task_id + 1000, tuple(truth), Scene(tuple(found)))


# Twenty sarees that were found, elsewhere: the model knows what a saree looks like.
KNOWN = [case([region("saree", 0, 40)], [find("saree", 0, 40)], task_id=100 + number) for number in range(20)]
SAREE = region("saree", 0, 40)

# What was approved, what was found, and what is said of it: kind, approved label, found label, confidence.
CASES = [
    # Perfect agreement.
    ([SAREE], [find("saree", 0, 40)], []),
    # Nothing there, nothing found.
    ([], [], []),
    # A border that is nearly right: IoU 0.8.
    ([SAREE], [find("saree", 0, 32)], []),
    # A garment without a region.
    ([SAREE], [find("saree", 0, 40), find("blouse", 60, 80, 0.8)], [("missed", None, "blouse", 0.8)]),
    # The same, of which the model is not sure.
    ([SAREE], [find("saree", 0, 40), find("blouse", 60, 80, 0.4)], []),
    # A dupatta that lies upon what was approved as a saree.
    ([SAREE], [find("saree", 0, 40), find("dupatta", 0, 12, 0.7)], [("missed", None, "dupatta", 0.7)]),
    # A second find in a region of its own label: a part of the garment.
    ([SAREE], [find("saree", 0, 40), find("saree", 5, 20)], []),
    # One find for two regions, the parts of one garment.
    ([region("saree", 0, 22), region("saree", 24, 40)], [find("saree", 0, 40)], []),
    # A region where nothing is: 20 of 20 others are found, at least 0.861 at 95 %.
    ([SAREE], [], [("spurious", "saree", None, 0.861)]),
    # The same, half seen.
    ([SAREE], [find("saree", 0, 40, 0.2)], [("spurious", "saree", None, 0.689)]),
    # A label that the model is not known to find.
    ([region("belt", 0, 40)], [], []),
    # Another label in the same place.
    ([SAREE], [find("kurta", 0, 40, 0.8)], [("wrong class", "saree", "kurta", 0.8)]),
    # The same, while the approved label is as likely.
    ([SAREE], [find("kurta", 0, 40, 0.6), find("saree", 0, 40, 0.5)], []),
    # Another label, beside it as much as upon it: no statement on either.
    ([SAREE], [find("kurta", 0, 26, 0.8)], []),
    # A border that is wrong: IoU 0.6.
    ([SAREE], [find("saree", 0, 24)], [("poor border", "saree", "saree", 0.72)]),
    # A rectangle, of which nobody expects a border.
    ([region("saree", 0, 40, kind="rectangle")], [find("saree", 0, 24)], []),
]


@pytest.mark.parametrize(("truth", "found", "expected"), CASES)
def test_each_contradiction_is_told(
    truth: list[LabelledMask],
    found: list[Detection],
    expected: list[tuple[str, str | None, str | None, float]],
) -> None:
    doubts = find_doubts([*KNOWN, case(truth, found)])
    assert [said(doubt) for doubt in doubts] == [one[:3] for one in expected]
    assert [doubt.confidence for doubt in doubts] == pytest.approx([one[3] for one in expected], abs=1e-3)
    assert {(doubt.image, doubt.task_id, doubt.annotation_id) for doubt in doubts} <= {(20, 7, 1007)}


def said(doubt: Doubt) -> tuple[str, str | None, str | None]:
    return (
        doubt.kind,
        doubt.region.label if doubt.region else None,
        doubt.detection.class_name if doubt.detection else None,
    )


def test_the_surest_contradiction_comes_first_and_no_more_than_asked_for() -> None:
    images = [
        *KNOWN,
        case([SAREE], [find("saree", 0, 24)], task_id=1),
        case([], [find("blouse", 60, 80, 0.95)], task_id=2),
        case([SAREE], [find("kurta", 0, 40, 0.9)], task_id=3),
        case([SAREE], [], task_id=4),
    ]
    ranked = find_doubts(images)
    assert [doubt.task_id for doubt in ranked] == [2, 3, 4, 1]
    assert find_doubts(images, limit=2) == ranked[:2]


def test_what_the_mask_leaves_in_doubt_counts() -> None:
    blurred = Detection(bar(60, 80), "blouse", 0.9, mask_score=0.5)
    assert find_doubts([case([], [blurred])]) == []


class Large:
    """A hundred images of a megabyte, each made when it is its turn: a saree that was overlooked."""

    def __iter__(self) -> Iterator[EvaluatedImage]:
        for number in range(100):
            mask = np.zeros((1000, 1000), bool)
            mask[:500] = True
            yield case([], [Detection(mask, "saree", 0.5 + number / 250)], task_id=number)


def test_the_masks_of_one_image_at_a_time_are_in_memory() -> None:
    tracemalloc.start()
    try:
        doubts = find_doubts(Large(), limit=3)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert [doubt.task_id for doubt in doubts] == [99, 98, 97]
