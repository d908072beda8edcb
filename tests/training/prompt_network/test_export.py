from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from backend.errors import ModelError
from training.prompt_network import export
from training.prompt_network.export import export_network
from training.prompt_network.network import PromptNetwork


@pytest.mark.slow
def test_openvino_answers_as_pytorch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = PromptNetwork("mobilenetv4_conv_small_035", 3)
    exported = export_network(network, tmp_path, {"seed": 0})
    assert exported.difference < 0.02
    assert exported.model.is_file()
    facts = json.loads((tmp_path / "prompt_network.json").read_text())
    assert facts["seed"] == 0
    assert facts["bytes"] == exported.size_bytes < 2.2 * facts["parameters"] + 1_000_000


@pytest.mark.slow
def test_what_is_too_large_to_ship_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "MOST_BYTES", 1000)
    with pytest.raises(ModelError, match="at most 1,000 are shipped"):
        export_network(PromptNetwork("mobilenetv4_conv_small_035", 3), tmp_path, {})
