"""Converts a PyTorch network to OpenVINO's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from backend.compute.quiet_openvino import convert_network
from backend.compute.quiet_openvino import openvino as ov
from backend.detector.runtimes.openvino_runtime import OUTPUTS

# The size of the traced example: any size that is not square works, because the exported sizes stay free.
EXAMPLE_WH = (256, 320)


def export_openvino(network: torch.nn.Module, file: Path, *, outputs: Sequence[str] = OUTPUTS) -> None:
    """Writes a network as `file`, an `.xml` with its weights beside it; it takes images of any size, see `Runtime`.

    Args:
        network: takes `float32 (1, 3, h, w)` in `[0, 1]`, RGB, on the CPU.
        outputs: the names of its outputs, in order.

    Raises:
        ModelError: OpenVINO cannot convert the network.
    """
    model = convert_network(network, example_input=torch.zeros(1, 3, *EXAMPLE_WH[::-1]), input=[(-1, 3, -1, -1)])
    for output, name in zip(model.outputs, outputs, strict=True):
        output.set_names({name})
    steps = ov.preprocess.PrePostProcessor(model)
    steps.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    steps.input().model().set_layout(ov.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(ov.Type.f32).scale(255.0)
    file.parent.mkdir(parents=True, exist_ok=True)
    # Weights stay in single precision: the machine that computes chooses, and verifies, its own precision.
    ov.save_model(steps.build(), file, compress_to_fp16=False)
