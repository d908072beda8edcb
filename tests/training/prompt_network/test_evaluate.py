from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.domain import Image, Point, Prompt
from training.prompt_network.evaluate import (
    NetworkSegmenter,
    click_metrics,
    confusion,
    mean_iou,
    simulated_clicks,
)
from training.prompt_network.network import PromptNetwork
from training.prompt_network.pictures import Pictures


class ColourOfTheClick(PromptNetwork):
    """Finds what has the colour under the first positive click, and keeps the prompts."""

    def __init__(self, classes: int) -> None:
        super().__init__("mobilenetv4_conv_small_035", classes)
        self.prompts: list[Tensor] = []

    def forward(self, images: Tensor, prompts: Tensor) -> Tensor:
        self.prompts.append(prompts)
        row, column = torch.nonzero(prompts[0, 0])[len(torch.nonzero(prompts[0, 0])) // 2].tolist()
        near = (images - images[:, :, row : row + 1, column : column + 1]).abs().amax(1, keepdim=True) < 40
        return near.float()


@pytest.mark.slow
def test_the_first_click_looks_twice_and_later_ones_once_with_the_mask_so_far(pictures: Pictures) -> None:
    network = ColourOfTheClick(len(pictures.classes))
    segmenter = NetworkSegmenter(network)
    image = Image(np.array(pictures.pixels(3)), "key", "")
    points = (Point(40.0, 40.0),)
    (segment,) = segmenter.segment(image, Prompt(points=points))
    assert segment.mask.shape == image.pixels.shape[:2]
    assert len(network.prompts) == 2
    assert not network.prompts[0][0, 3].any() and network.prompts[1][0, 3].any()
    segmenter.segment(image, Prompt(points=(*points, Point(70.0, 100.0, positive=False))))
    assert len(network.prompts) == 3 and network.prompts[2][0, 1].any() and network.prompts[2][0, 3].any()
    # Another garment begins anew.
    segmenter.segment(image, Prompt(points=(Point(35.0, 80.0),)))
    assert len(network.prompts) == 5 and not network.prompts[3][0, 3].any()


@pytest.mark.slow
def test_clicks_on_held_out_garments_are_judged_in_the_pictures_own_pixels(pictures: Pictures) -> None:
    targets = pictures.targets(held_out=True, least_px=400)
    runs = simulated_clicks(ColourOfTheClick(len(pictures.classes)), pictures, targets, most_clicks=5)
    metrics = click_metrics(runs, most_clicks=5)
    assert metrics.garments == 4
    assert metrics.ious[0] > 0.85 and metrics.clicks_to_85 == 1


@pytest.mark.slow
def test_every_pixel_of_held_out_pictures_is_counted_once(pictures: Pictures) -> None:
    network = PromptNetwork("mobilenetv4_conv_small_035", len(pictures.classes))
    table = confusion(network, pictures, [3, 4])
    assert table.shape == (4, 4) and table.sum() == 2 * 192 * 256


def test_mean_iou_is_of_the_classes_that_are_seen() -> None:
    assert mean_iou(np.array([[6, 2, 0], [0, 2, 0], [0, 0, 0]])) == pytest.approx((6 / 8 + 2 / 4) / 2)


def test_no_garments_have_no_metrics() -> None:
    assert click_metrics([], most_clicks=20).ious == (0.0, 0.0, 0.0)
