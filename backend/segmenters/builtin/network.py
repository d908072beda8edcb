"""Computes the network with OpenVINO, on the CPU: there it takes a few milliseconds, so that a GPU would not help."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from backend.compute.quiet_openvino import openvino as ov
from backend.domain import Pixels
from backend.errors import ModelError, first_line
from backend.segmenters.builtin.prompt_maps import Probabilities, PromptMaps
from backend.segmenters.builtin.segmenter import BuiltinSegmenter

WEIGHTS = Path(__file__).parent / "weights" / "prompt_network.xml"
# In half precision a mask would differ between machines.
OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoNetwork:
    """A network that `make prompt-network` exported. Thread-safe: one prompt is computed at a time, on all cores."""

    def __init__(self, file: Path = WEIGHTS) -> None:
        """Compiles the network.

        Raises:
            ModelError: the file is missing or damaged.
        """
        try:
            self._request = ov.Core().compile_model(file, "CPU", OPTIONS).create_infer_request()
        except RuntimeError as e:
            raise ModelError(f"The network for clicks, {file.name}, does not load: {first_line(e)}") from e
        self._lock = threading.Lock()

    def __call__(self, pixels: Pixels, maps: PromptMaps) -> Probabilities:
        """Returns how probable it is that each pixel is meant, `float32 (h, w)` in `[0, 1]`.

        Args:
            pixels: what the frame shows, `uint8 (h, w, 3)`, RGB.
            maps: see `prompt_maps`.
        """
        images = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)
        with self._lock:
            self._request.infer({"images": images, "prompts": maps[None]})
            return np.array(self._request.get_output_tensor().data[0, 0], np.float32)


def load_builtin(file: Path = WEIGHTS) -> BuiltinSegmenter:
    """Returns the segmenter with the network that comes with Drape, or with another that was trained.

    Raises:
        ModelError: the file is missing or damaged.
    """
    return BuiltinSegmenter(OpenVinoNetwork(file))
