"""What computes YOLO11-seg's network: behind one small protocol, so that the detector knows no engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from backend.domain import Pixels

# What a network is computed in, where the runtime leaves a choice.
Precision = Literal["bf16", "f32"]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """What the network says of one image of `(h, w)` pixels. The arrays hold until the next outputs are asked for.

    Attributes:
        candidates: `float32 (4 + classes + coefficients, anchors)`: of each anchor the box as centre, width and height
            in pixels, each class's confidence in `[0, 1]`, and the coefficients of its mask.
        prototypes: `float32 (coefficients, h / 4, w / 4)`: a mask's logits are their sum under its coefficients.
        features: `float32 (channels,)`: the backbone's last map, averaged over the image.
    """

    candidates: Floats
    prototypes: Floats
    features: Floats


class Runtime(Protocol):
    """One loaded network; answers one caller at a time."""

    @property
    def name(self) -> str:
        """Such as `openvino-bf16`."""

    def infer(self, images: Iterable[Pixels]) -> Iterator[Outputs]:
        """Outputs in the order of `images`; takes images ahead of those that it has answered.

        Args:
            images: `uint8 (h, w, 3)`, RGB; `h` and `w` multiples of 32.
        """
