"""What of a detection's mask is left out, told from outputs that are made by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from backend.detector.runtimes.base import Outputs
from backend.detector.yolo11 import PROTOTYPE_STRIDE_PX, letterbox, read_outputs
from backend.domain import Mask

SIDE_PX = 128
CELLS = SIDE_PX // PROTOTYPE_STRIDE_PX


def mask_of(logits: npt.NDArray[np.float64], *, crumb_share: float) -> Mask:
    """The mask of the only detection, whose box is the whole image and whose logits are those."""
    candidate = np.array([SIDE_PX / 2, SIDE_PX / 2, SIDE_PX, SIDE_PX, 0.9, 1.0], np.float32)
    outputs = Outputs(candidate[:, None], logits[None].astype(np.float32), np.zeros(1, np.float32))
    boxed = letterbox(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), side_px=SIDE_PX)
    (detection,) = read_outputs(
        outputs, boxed, ("saree",), size_wh=(SIDE_PX, SIDE_PX), min_score=0.5, crumb_share=crumb_share
    )
    return detection.mask


@pytest.fixture
def logits() -> npt.NDArray[np.float64]:
    """A part of 200 cells, one of 60, and one of 4."""
    cells = np.full((CELLS, CELLS), -3.0)
    cells[2:12, 2:22] = 3
    cells[20:26, 4:14] = 3
    cells[28:30, 28:30] = 3
    return cells


def test_crumbs_are_left_out_and_all_else_stays(logits: npt.NDArray[np.float64]) -> None:
    whole = mask_of(logits, crumb_share=0.0)
    left = mask_of(logits, crumb_share=0.1)
    crumb = np.zeros_like(whole)
    crumb[27 * PROTOTYPE_STRIDE_PX :, 27 * PROTOTYPE_STRIDE_PX :] = True
    assert (whole & crumb).any() and not (left & crumb).any()
    assert np.array_equal(left, whole & ~crumb)


def test_a_part_that_is_no_crumb_stays_however_far_away(logits: npt.NDArray[np.float64]) -> None:
    assert np.count_nonzero(mask_of(logits, crumb_share=0.29)) > np.count_nonzero(mask_of(logits, crumb_share=0.31)) > 0


def test_what_lies_outside_the_box_makes_no_part_a_crumb(logits: npt.NDArray[np.float64]) -> None:
    """A network's logits may be positive anywhere; only those in the box belong to the garment."""
    candidate = np.array([18.0 * PROTOTYPE_STRIDE_PX / 2, 46 * PROTOTYPE_STRIDE_PX / 2, 40, 24, 0.9, 1.0], np.float32)
    outputs = Outputs(candidate[:, None], logits[None].astype(np.float32), np.zeros(1, np.float32))
    boxed = letterbox(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), side_px=SIDE_PX)
    (detection,) = read_outputs(outputs, boxed, ("saree",), size_wh=(SIDE_PX, SIDE_PX), min_score=0.5, crumb_share=1.0)
    assert np.count_nonzero(detection.mask) == pytest.approx(40 * 24, rel=0.1)


def test_a_box_without_width_is_no_detection(logits: npt.NDArray[np.float64]) -> None:
    """With numbers of 16 bits, both edges of a narrow box may be the same pixel."""
    candidate = np.array([32.0, 32.0, 0.0, 24.0, 0.9, 1.0], np.float32)
    outputs = Outputs(candidate[:, None], logits[None].astype(np.float32), np.zeros(1, np.float32))
    boxed = letterbox(np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8), side_px=SIDE_PX)
    assert read_outputs(outputs, boxed, ("saree",), size_wh=(SIDE_PX, SIDE_PX), min_score=0.5) == []
