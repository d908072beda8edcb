from __future__ import annotations

import logging

import pytest
import torch

from backend.compute.quiet_openvino import convert_network
from backend.errors import ModelError


class Untraceable(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this cannot be traced")


def test_warnings_are_logged_after_a_failed_conversion(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError, match="OpenVINO cannot convert the model"):
        convert_network(Untraceable(), example_input=torch.zeros(1, 3, 8, 8))
    logging.getLogger("drape").warning("A picture is left out.")
    assert caplog.messages[-1] == "A picture is left out."
    assert not logging.getLogger().filters
