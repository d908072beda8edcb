from __future__ import annotations

import pytest
import torch

from backend.errors import ModelError
from backend.segmenters.builtin.prompt_maps import CHANNELS
from training.prompt_network.network import PromptNetwork, _likeness


def test_an_encoder_that_does_not_exist_is_named() -> None:
    with pytest.raises(ModelError, match="no encoder 'mobilenet99'"):
        PromptNetwork("mobilenet99", 3)


@pytest.mark.slow
def test_answers_have_the_size_of_the_picture_and_depend_on_the_prompt() -> None:
    torch.manual_seed(0)
    network = PromptNetwork("mobilenetv4_conv_small_035", 5).eval()
    images, prompts = torch.rand(1, 3, 64, 96) * 255, torch.zeros(1, CHANNELS, 64, 96)
    with torch.inference_mode():
        nothing = network(images, prompts)
        prompts[0, 0, 30:36, 40:46] = 1
        clicked = network(images, prompts)
        assert network.class_logits(network.encode(images)).shape == (1, 6, 16, 24)
    assert clicked.shape == (1, 1, 64, 96)
    assert 0 <= clicked.min() and clicked.max() <= 1
    assert (clicked - nothing).abs().max() > 1e-4


def test_a_place_is_as_like_as_the_clicked_place_that_it_is_most_like() -> None:
    # Two halves with features at right angles, of different length; a click on each half, then none.
    features = torch.zeros(1, 2, 4, 8)
    features[:, 0, :, :4], features[:, 1, :, 4:] = 2.0, 0.5
    clicks = torch.zeros(1, 2, 16, 32)
    clicks[0, 0, 4:7, 4:7] = 1
    like, unlike = _likeness(features, clicks)[0]
    assert torch.allclose(like[:, :4], torch.ones(4, 4)) and torch.allclose(like[:, 4:], torch.zeros(4, 4))
    assert (unlike == -1).all()
    clicks[0, 0, 4:7, 20:23] = 1
    assert torch.allclose(_likeness(features, clicks)[0, 0], torch.ones(4, 8))
