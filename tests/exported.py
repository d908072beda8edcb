"""A network of another architecture than YOLO, which knows what drawn figures of two colours show, as a version."""

from __future__ import annotations

from pathlib import Path

import torch

from backend.detector.exported.answers import OUTPUT_NAMES
from backend.detector.runtimes.openvino_export import export_openvino
from backend.registry.files import NETWORK
from backend.registry.registry import Registry, Version


class Colours(torch.nn.Module):
    """What is red is the first label, what is blue the second."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        scores = torch.cat([torch.full_like(images[:, :1], 0.5), images[:, :1], images[:, 2:]], dim=1)
        return ((8 * scores).softmax(dim=1),)


def export_colours(folder: Path) -> Path:
    """The path of the exported network."""
    file = folder / "colours.xml"
    export_openvino(Colours().eval(), file, outputs=OUTPUT_NAMES["label map"])
    return file


def add_colours(
    registry: Registry, project_id: int, folder: Path, *, classes: tuple[str, ...], parent: Version | None = None
) -> Version:
    """Stores the network as the project's next version."""
    file = export_colours(folder)
    return registry.add(
        project_id,
        weights=file.with_suffix(".bin"),
        classes=classes,
        parent=parent.name if parent else None,
        metrics={},
        annotations={},
        image_size_px=128,
        origin="comparison",
        architecture="colours-seg",
        network="label map",
        beside={NETWORK: file.read_text()},
    )
