from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.domain import Point
from backend.segmenters.builtin.frames import SIZE_WH
from training.prompt_network.clicks import Clicks
from training.prompt_network.crops import Crops
from training.prompt_network.network import PromptNetwork
from training.prompt_network.pictures import Pictures
from training.prompt_network.steps import _asked_again, class_loss, dense_gradients, mask_loss, prompt_gradients


def test_a_perfect_mask_loses_nothing_and_a_small_garment_counts_as_much_as_a_large_one() -> None:
    masks = torch.zeros(2, 1, 40, 40)
    masks[0, :, 5:35, 5:35], masks[1, :, 5:8, 5:8] = 1, 1
    assert mask_loss((masks - 0.5) * 60, masks) == pytest.approx(0, abs=1e-3)
    missed = [mask_loss(torch.full((1, 1, 40, 40), -30.0), mask[None]) for mask in masks]
    # Both lose the whole of Dice.
    assert missed[1] > 0.85


def test_classes_of_other_data_sets_cost_nothing() -> None:
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 2] = 50.0
    classes = torch.ones(1, 2, 2, dtype=torch.int64)
    known = torch.tensor([[True, True, False]])
    assert class_loss(logits, classes, known) == pytest.approx(np.log(2))


def test_a_prompt_is_asked_again_with_one_more_click_or_for_a_nearer_crop_with_a_coarse_mask_alone() -> None:
    truth = np.zeros(SIZE_WH[::-1], bool)
    truth[60:160, 40:120] = True
    found = np.roll(truth, 40, 0).astype(np.float32)
    before = Clicks((Point(80.0, 100.0),))
    again = [_asked_again(before, truth, found, np.random.default_rng(seed)) for seed in range(60)]
    nearer = [clicks for clicks in again if clicks.points == before.points]
    assert 20 < len(nearer) < 40
    for clicks in nearer:
        # The mask is in its place, and its border is not sharp.
        assert clicks.found is not None and np.abs(clicks.found - found).mean() < 0.02
        assert not np.array_equal(clicks.found, found)
    more = [clicks for clicks in again if len(clicks.points) == 2]
    assert len(more) + len(nearer) == 60
    assert 1 < sum(clicks.found is None for clicks in more) < 15
    # The nearer crop is asked once.
    for seed in range(20):
        assert len(_asked_again(nearer[0], truth, found, np.random.default_rng(seed)).points) == 2


def test_a_mask_alone_is_never_taken_away_as_nothing_else_says_which_garment_is_meant() -> None:
    truth = np.zeros(SIZE_WH[::-1], bool)
    truth[60:160, 40:120] = True
    found = np.zeros(truth.shape, np.float32)
    found[60:190, 40:120] = 1
    for seed in range(60):
        clicks = _asked_again(Clicks(found=found), truth, found, np.random.default_rng(seed))
        assert [point.positive for point in clicks.points] == [False] and clicks.found is not None


def gradient_of(parameter: torch.nn.Parameter) -> torch.Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.slow
def test_each_phase_teaches_what_it_uses(pictures: Pictures) -> None:
    torch.manual_seed(0)
    network = PromptNetwork("mobilenetv4_conv_small_035", len(pictures.classes))
    draw, rng = Crops(pictures).draw, np.random.default_rng(0)
    crops, known = [draw(rng) for _ in range(2)], torch.from_numpy(pictures.known_classes())

    assert dense_gradients(network, crops, known) > 0
    taught = {name.split(".")[0] for name, each in network.named_parameters() if each.grad is not None}
    assert taught == {"encoder", "lateral", "narrow", "smooth", "classify"}

    # Nothing to ask for: the classes teach alone.
    network.zero_grad()
    assert prompt_gradients(network, [replace(crop, asked=()) for crop in crops], known, rng, rounds=1) == 0
    taught = {name.split(".")[0] for name, each in network.named_parameters() if gradient_of(each).abs().sum() > 0}
    assert "classify" in taught and "decoder" not in taught

    network.zero_grad()
    statistics = {name: each.clone() for name, each in network.encoder.named_buffers()}
    assert prompt_gradients(network, crops, known, rng, rounds=2) > 0
    unread = [name for name, each in network.named_parameters() if not gradient_of(each).abs().sum() > 0]
    assert not unread
    # The encoder's statistics stay as they were.
    assert all(torch.equal(each, statistics[name]) for name, each in network.encoder.named_buffers())
