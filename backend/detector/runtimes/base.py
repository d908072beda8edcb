"""The protocol of the runtimes that compute YOLO11-seg's network, so that the detector depends on no engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from backend.domain import Pixels

# The number format in which a network is computed, if the runtime offers a choice.
Precision = Literal["bf16", "f32"]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outputs:
    """The network's outputs for one image of `(h, w)` pixels, valid until the caller asks for the next outputs.

    Attributes:
        candidates: `float32 (4 + classes + coefficients, anchors)`: for each anchor the box as centre, width and height
            in pixels, each class's confidence in `[0, 1]`, and the coefficients of its mask.
        prototypes: `float32 (coefficients, h / 4, w / 4)`: a mask's logits are their sum, weighted by its coefficients.
        features: `float32 (channels,)`: the backbone's last feature map, averaged over the image.
    """

    candidates: Floats
    prototypes: Floats
    features: Floats


class Runtime(Protocol):
    """One loaded network; serves one caller at a time."""

    @property
    def name(self) -> str:
        """The runtime's name, such as `openvino-bf16`."""

    def infer(self, images: Iterable[Pixels]) -> Iterator[Outputs]:
        """Yields outputs in the order of `images`; may take further images before it yields an earlier image's outputs.

        Args:
            images: `uint8 (h, w, 3)`, RGB; `h` and `w` multiples of 32.
        """
