"""Trains in bfloat16 on a CPU that computes in it, in about half the time of float32."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def computes_in_bfloat16() -> bool:
    """Whether this machine's CPU has instructions for bfloat16 (AVX512-BF16 or AMX); others only emulate it, slowly."""
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def use_bfloat16(trainer: Any) -> None:
    """Ultralytics' callback `on_train_start`: the network computes in bfloat16, the loss and the weights in float32.

    Ultralytics' own `amp` needs a GPU. Only the model that trains is changed: neither its average nor a checkpoint.
    """
    import torch

    depthwise_in_float32(trainer.model)
    predict = trainer.model._predict_once

    def predict_in_bfloat16(*args: Any, **options: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            outputs = predict(*args, **options)
        return _in_float32(outputs)

    trainer.model._predict_once = predict_in_bfloat16


def depthwise_in_float32(network: Any) -> None:
    """Keeps a network's depthwise convolutions out of autocast: in bfloat16 their gradients take four times as long."""
    from torch.nn import Conv2d

    for module in network.modules():
        if isinstance(module, Conv2d) and module.groups > 1:
            module.forward = partial(_without_autocast, module.forward)  # type: ignore[method-assign]


def _without_autocast(forward: Callable[[Any], Any], images: Any) -> Any:
    import torch

    with torch.autocast("cpu", enabled=False):
        return forward(images.float())


def _in_float32(outputs: Any) -> Any:
    if isinstance(outputs, dict):
        return {name: _in_float32(value) for name, value in outputs.items()}
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(_in_float32(value) for value in outputs)
    return outputs.float() if outputs.is_floating_point() else outputs
