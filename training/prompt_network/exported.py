"""Reads an exported network back, so that a training on other photographs can start from the weights that Drape ships.

An export holds less than a checkpoint: batch norms are part of the convolutions before them, weights are float16, and
the classes of the pre-training are gone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from backend.compute.quiet_openvino import openvino as ov
from backend.errors import ModelError
from training.prompt_network.network import PromptNetwork


def load_exported(network: PromptNetwork, file: Path) -> None:
    """Gives a network the weights of an export; `classify` stays as it is.

    Args:
        file: the `.xml`; its `.bin` lies beside it.

    Raises:
        ModelError: the files cannot be read, or are of another network.
    """
    try:
        named: dict[str, Tensor] = {}
        encoder: list[tuple[Tensor, Tensor]] = []
        for operation in ov.Core().read_model(file).get_ordered_ops():
            kind, module = operation.get_type_name(), _module(operation)
            if kind == "GroupNormalization":
                named[f"{module}.weight"], named[f"{module}.bias"] = _constant(operation, 1), _constant(operation, 2)
            elif kind in ("Convolution", "GroupConvolution"):
                added = _added(operation)
                if added is not None and "batch_norm" in added.get_friendly_name():
                    encoder.append((_constant(operation, 1), _constant(added, 1)))
                    continue
                named[f"{module}.weight"] = _constant(operation, 1)
                if added is not None:
                    named[f"{module}.bias"] = _constant(added, 1)
        expected = network.state_dict()
        _load_encoder(network.encoder, encoder)
        network.load_state_dict(
            {name: values.reshape(expected[name].shape) for name, values in named.items()}, strict=False
        )
    except (RuntimeError, ValueError, KeyError, AttributeError) as e:
        raise ModelError(f"{file} is not an export of this network: {e}") from e
    lost = sorted(
        name
        for name in expected
        if name not in named and not name.startswith(("encoder", "classify", "mean", "deviat"))
    )
    if lost:
        raise ModelError(f"{file} is not an export of this network: it has no '{lost[0]}'.")


def _load_encoder(encoder: nn.Module, exported: list[tuple[Tensor, Tensor]]) -> None:
    """Puts weights with their batch norm into each convolution; the batch norm then only adds."""
    modules = list(encoder.modules())
    convolutions = [each for each in modules if isinstance(each, nn.Conv2d)]
    norms = [each for each in modules if isinstance(each, nn.BatchNorm2d)]
    with torch.no_grad():
        for convolution, norm, (weights, bias) in zip(convolutions, norms, exported, strict=True):
            convolution.weight.copy_(weights.reshape(convolution.weight.shape))
            state = {
                "running_mean": torch.zeros(norm.num_features),
                "running_var": torch.full((norm.num_features,), 1 - norm.eps),
                "weight": torch.ones(norm.num_features),
                "bias": bias.flatten(),
            }
            norm.load_state_dict(state, strict=False)


def _module(operation: Any) -> str:
    return str(operation.get_friendly_name()).removeprefix("__module.").partition("/")[0]


def _added(operation: Any) -> Any | None:
    """The operation that adds a bias to this one's result, if there is one."""
    (target,) = operation.output(0).get_target_inputs() or (None,)
    node = target.get_node() if target else None
    return node if node is not None and node.get_type_name() == "Add" and _is_constant(node, 1) else None


def _is_constant(operation: Any, number: int) -> bool:
    return str(_origin(operation, number).get_type_name()) == "Constant"


def _constant(operation: Any, number: int) -> Tensor:
    return torch.from_numpy(np.array(_origin(operation, number).get_data(), np.float32))


def _origin(operation: Any, number: int) -> Any:
    """The operation behind an input; numbers in half precision are converted on the way."""
    node = operation.input_value(number).get_node()
    return node.input_value(0).get_node() if node.get_type_name() == "Convert" else node
