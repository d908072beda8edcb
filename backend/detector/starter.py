"""The starter: the base for garments that comes with Drape.

A project's first detector is trained from it where COCO's YOLO11-seg cannot be had, and the demo project has it as its
model. `make garment-base` made it of photographs and drawn figures; `starter.json` says of which.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

STARTER = Path(__file__).parent / "weights" / "starter.pt"


@dataclass(frozen=True)
class StarterFacts:
    """What is known of the starter.

    Attributes:
        classes: its class names.
        image_size_px: the image size at which it works best.
        figures: mask mAP on held-out drawn figures, in `[0, 1]`.
    """

    classes: tuple[str, ...]
    image_size_px: int
    figures: dict[str, float]


def starter_facts() -> StarterFacts:
    """Reads what is known of the starter."""
    facts = json.loads(STARTER.with_suffix(".json").read_text())
    figures = facts["judged"]["figures"]
    metrics = {name: figures[name] for name in ("mask_map50", "mask_map50_95")}
    return StarterFacts(tuple(facts["classes"]), facts["image_size_px"], metrics)
