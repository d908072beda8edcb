"""YOLO11-seg's network as Ultralytics builds it, with the backbone's features as an additional output."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from backend.compute.quiet_ultralytics import LOAD_ERRORS, load_yolo
from backend.errors import ModelError, first_line


class GarmentNetwork(torch.nn.Module):
    """Maps `float32 (N, 3, h, w)` in `[0, 1]` to candidates, prototypes and features, each with `N` in front."""

    def __init__(self, model: Any) -> None:
        """`model`: an Ultralytics segmentation model, of which this network is a copy."""
        super().__init__()
        self.model = copy.deepcopy(model).float().eval().fuse(verbose=False)
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        for layer in self.model.modules():
            if hasattr(layer, "export"):
                # For flat outputs, and so that no anchors of an earlier image's size are reused.
                layer.export, layer.format, layer.dynamic = True, "openvino", True
        self._pooled: list[torch.Tensor] = []
        _backbone_end(self.model).register_forward_hook(self._pool)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the raw outputs, see `Outputs`."""
        candidates, prototypes = self.model(images)
        return candidates, prototypes, self._pooled.pop()

    def _pool(self, layer: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._pooled.append(output.mean(dim=(2, 3)))


def _backbone_end(model: Any) -> torch.nn.Module:
    """Returns the layer before the first upsampling layer, where the neck begins."""
    layers = list(model.model)
    return next(layer for layer, following in pairwise(layers) if isinstance(following, torch.nn.Upsample))


def load_network(weights: Path) -> tuple[GarmentNetwork, tuple[str, ...]]:
    """Loads the network in a `.pt` file; returns it and its class names in order.

    Raises:
        ModelError: the file is missing, or does not contain a YOLO segmentation model.
    """
    # Absolute: Ultralytics would look elsewhere for a bare name.
    yolo = load_yolo(str(weights.absolute()))
    try:
        names = tuple(str(yolo.names[number]) for number in range(len(yolo.names)))
        return GarmentNetwork(yolo.model), names
    except LOAD_ERRORS as e:
        name = "/".join(weights.parts[-3:])
        raise ModelError(f"The weights {name} do not load: {first_line(e)}") from e
