"""The two kinds of outputs that an exported network has, and what it answers to an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from backend.detector.exported.instances import read_instances
from backend.detector.exported.label_maps import garments_of, likeliest_labels
from backend.detector.runtimes.base import Floats
from backend.detector.yolo11 import Letterbox
from backend.domain import Detection

# `instances`: garment by garment; `label map`: every pixel's label, or background.
OutputKind = Literal["instances", "label map"]
# Names of the outputs, in order. `read_instances` and `likeliest_labels` say what each holds, for a batch of one image.
OUTPUT_NAMES: dict[OutputKind, tuple[str, ...]] = {
    "instances": ("boxes", "numbers", "scores", "masks"),
    "label map": ("probabilities",),
}


@dataclass(frozen=True)
class Answer:
    """A network's answer to one image.

    Attributes:
        garments: highest score first, with masks `bool (H, W)` of the image's size.
        label_map: `uint16 (H, W)`, the labels from 1 in the network's order; None for a network that finds instances.
    """

    garments: tuple[Detection, ...]
    label_map: npt.NDArray[np.uint16] | None = None


def read_answer(
    outputs: Sequence[Floats],
    kind: OutputKind,
    boxed: Letterbox,
    labels: Sequence[str],
    *,
    size_wh: tuple[int, int],
    min_score: float,
) -> Answer:
    """Reads the outputs of a network for one image.

    Args:
        outputs: as `OUTPUT_NAMES` has them.
        boxed: what the network got.
        labels: the network's own, in order, without the background.
        size_wh: size of the answer's masks, in pixels.
        min_score: confidence in `[0, 1]` from which a garment counts; the map is not affected by it.
    """
    if kind == "instances":
        return Answer(read_instances(outputs, boxed, labels, size_wh=size_wh, min_score=min_score))
    numbers, probability = likeliest_labels(outputs[0][0], boxed, size_wh=size_wh)
    return Answer(garments_of(numbers, probability, labels, min_score=min_score), numbers)
