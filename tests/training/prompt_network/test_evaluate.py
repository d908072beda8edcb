from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.prompt_network.evaluate import (
    click_metrics,
    confusion,
    mean_iou,
    simulated_clicks,
)
from training.prompt_network.network import PromptNetwork
from training.prompt_network.pictures import Pictures


class ColourOfTheClick(PromptNetwork):
    """Finds what has the colour under the first positive click."""

    def __init__(self, classes: int) -> None:
        super().__init__("mobilenetv4_conv_small_035", classes)

    def forward(self, images: Tensor, prompts: Tensor) -> Tensor:
        row, column = torch.nonzero(prompts[0, 0])[len(torch.nonzero(prompts[0, 0])) // 2].tolist()
        near = (images - images[:, :, row : row + 1, column : column + 1]).abs().amax(1, keepdim=True) < 40
        return near.float()


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
