"""Boxes with masks in them become garments, as torchvision draws them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from backend.detector.exported.instances import read_instances
from backend.detector.yolo11 import letterbox

LABELS = ("kurta", "saree")
# A photograph of 300 x 400 pixels as the network gets it: 120 x 160, with 4 pixels of padding to its left.
SIZE_WH, BOXED = (300, 400), letterbox(np.zeros((400, 300, 3), np.uint8), side_px=160)


def disc() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """The probability of a disc that fills a box, `float32 (1, 28, 28)`."""
    row, column = np.mgrid[:28, :28]
    distance = np.hypot(row - 13.5, column - 13.5)
    return (1 / (1 + np.exp(distance - 11)))[None].astype(np.float32)


@pytest.mark.parametrize(
    "box_xyxy",
    [
        (20.0, 30.0, 76.0, 110.0),  # inside
        (20.3, 30.8, 75.6, 110.1),  # its edges between pixels
        (100.0, 60.0, 140.0, 120.0),  # partly right of the photograph, in the padding
        (0.0, -10.0, 50.0, 40.0),  # partly above and to the left
    ],
)
def test_a_mask_is_drawn_where_torchvision_draws_it(box_xyxy: tuple[float, float, float, float]) -> None:
    assert (BOXED.left_px, BOXED.top_px, BOXED.fitted_wh) == (4, 0, (120, 160))
    outputs = [np.array([box_xyxy], np.float32), np.array([2]), np.array([0.75], np.float32), disc()[None]]
    (found,) = read_instances(outputs, BOXED, LABELS, size_wh=SIZE_WH, min_score=0.5)
    assert (found.class_name, found.score) == ("saree", 0.75)
    assert found.mask.shape == SIZE_WH[::-1] and found.mask.dtype == bool
    assert 0.5 < found.mask_score < 1
    in_photograph = (np.array(box_xyxy, np.float32) - (4, 0, 4, 0)) * 2.5
    drawn = paste_masks_in_image(
        torch.from_numpy(disc()[None]), torch.from_numpy(in_photograph[None].astype(np.float32)), SIZE_WH[::-1]
    )
    expected = drawn[0, 0].numpy() > 0.5
    # torchvision rounds boxes to whole pixels.
    assert (found.mask & expected).sum() / (found.mask | expected).sum() > 0.95


def test_the_surest_come_first_and_what_is_unsure_or_empty_is_left_out() -> None:
    boxes = np.array([[20, 30, 76, 110], [40, 30, 60, 60], [20, 30, 76, 110], [124, 10, 128, 40]], np.float32)
    masks = np.stack([disc(), disc(), np.zeros_like(disc()), disc()])
    outputs = [boxes, np.array([1, 2, 1, 1]), np.array([0.6, 0.9, 0.8, 0.7], np.float32), masks]
    found = read_instances(outputs, BOXED, LABELS, size_wh=SIZE_WH, min_score=0.5)
    # The third has an empty mask, and the fourth lies in the padding.
    assert [garment.class_name for garment in found] == ["saree", "kurta"]
    assert read_instances(outputs, BOXED, LABELS, size_wh=SIZE_WH, min_score=0.95) == ()


def test_nothing_found_is_no_garment() -> None:
    outputs = [np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0,), (0, 1, 28, 28))]
    assert read_instances(outputs, BOXED, LABELS, size_wh=SIZE_WH, min_score=0.1) == ()
