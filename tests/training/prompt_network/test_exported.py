from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.compute.quiet_openvino import openvino as ov
from backend.errors import ModelError
from backend.segmenters.builtin.frames import SIZE_WH
from backend.segmenters.builtin.network import WEIGHTS
from backend.segmenters.builtin.prompt_maps import CHANNELS
from training.prompt_network.export import export_network
from training.prompt_network.exported import load_exported
from training.prompt_network.learner import Plan, train, trained_network
from training.prompt_network.network import PromptNetwork
from training.prompt_network.pictures import Pictures

ENCODER = "mobilenetv4_conv_small_035"


def _network(seed: int) -> PromptNetwork:
    torch.manual_seed(seed)
    network = PromptNetwork(ENCODER, 3).eval()
    for each in network.encoder.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            # As after a training: else there would be nothing to put into the convolutions.
            each.load_state_dict(
                {name: torch.rand_like(values.float()) + 0.5 for name, values in each.state_dict().items()}
            )
    return network


def _answers(network: PromptNetwork) -> torch.Tensor:
    width, height = SIZE_WH
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((1, 3, height, width), generator=generator) * 255
    prompts = torch.zeros((1, CHANNELS, height, width))
    prompts[:, 0, 100:106, 80:86] = 1
    with torch.inference_mode():
        return network(images, prompts)


@pytest.mark.slow
def test_a_network_that_was_exported_comes_back(tmp_path: Path) -> None:
    network, other = _network(0), _network(1)
    exported = export_network(network, tmp_path, {})
    assert (_answers(other) - _answers(network)).abs().max() > 0.05
    load_exported(other, exported.model)
    assert (_answers(other) - _answers(network)).abs().max() < 0.01


@pytest.mark.slow
def test_a_training_starts_from_what_was_exported(pictures: Pictures, plan: Plan, tmp_path: Path) -> None:
    network = _network(0)
    exported = export_network(network, tmp_path, {})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "pictures").symlink_to(pictures.folder)
    barely = replace(plan, start=str(exported.model), learning_rate=1e-9)
    assert train(barely, tmp_path / "run")
    assert (_answers(trained_network(tmp_path / "run")) - _answers(network)).abs().max() < 0.01


def test_the_export_of_another_network_is_refused() -> None:
    with pytest.raises(ModelError, match="not an export of this network"):
        load_exported(_network(0), WEIGHTS)


def test_a_network_whose_weights_are_computed_is_refused(tmp_path: Path) -> None:
    """As in a network of 8-bit weights."""
    image, weights = (ov.opset13.parameter(shape, np.float32) for shape in ([1, 3, 8, 8], [4, 3, 3, 3]))
    convolution = ov.opset13.convolution(image, ov.opset13.relu(weights), [1, 1], [0, 0], [0, 0], [1, 1])
    ov.save_model(ov.Model([convolution], [image, weights]), tmp_path / "network.xml")
    with pytest.raises(ModelError, match=r"network\.xml is not an export"):
        load_exported(_network(0), tmp_path / "network.xml")


def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "network.xml").write_text("<net/>")
    with pytest.raises(ModelError, match=r"network\.xml is not an export"):
        load_exported(_network(0), tmp_path / "network.xml")
