"""Runs an exported network over whole images, in OpenVINO on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from backend.compute.quiet_openvino import openvino as ov
from backend.detector.exported.answers import OutputKind, read_answer
from backend.detector.runtimes.base import Floats
from backend.detector.yolo11 import Letterbox, letterbox
from backend.domain import Photo, Scene
from backend.errors import ModelError, first_line


class ExportedDetector:
    """One loaded network, which computes one image at a time; serves several callers in turn.

    Its scenes have no features, and tell nothing of what is below the score that is asked for.
    """

    def __init__(
        self, network: Path, weights: Path, *, kind: OutputKind, classes: tuple[str, ...], image_size_px: int
    ) -> None:
        """Compiles a network that `export_openvino` wrote, in single precision.

        Args:
            network, weights: the `.xml` file, and the file of its numbers, of any name.
            kind: what its outputs are.
            classes: its labels in its own order.
            image_size_px: longer side at which it works best.

        Raises:
            ModelError: a file is missing or damaged.
        """
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        core = ov.Core()
        try:
            compiled = core.compile_model(core.read_model(network, weights), "CPU", settings)
        except RuntimeError as e:
            raise ModelError(f"The exported model {network.name} does not load: {first_line(e)}") from e
        self._request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        self._kind = kind
        self._classes = classes
        self._image_size_px = image_size_px
        self._lock = threading.Lock()

    def detect(self, images: Iterable[Photo], *, min_score: float, max_side_px: int | None = None) -> Iterator[Scene]:
        """See `SizedDetector.detect`.

        Raises:
            ModelError: OpenVINO cannot compute an image.
        """
        side_px = min(self._image_size_px, max_side_px or self._image_size_px)
        for image in images:
            boxed = letterbox(image.pixels, side_px=side_px)
            outputs = self._infer(boxed)
            size_wh = image.size_wh
            answer = read_answer(outputs, self._kind, boxed, self._classes, size_wh=size_wh, min_score=min_score)
            yield Scene(answer.garments)

    def _infer(self, boxed: Letterbox) -> list[Floats]:
        with self._lock:
            try:
                self._request.infer([np.ascontiguousarray(boxed.pixels[None])])
            except RuntimeError as e:
                raise ModelError(f"The exported model cannot compute an image: {first_line(e)}") from e
            # Copied: the next image is computed in the same memory.
            return [self._request.get_output_tensor(number).data.copy() for number in range(self._outputs)]
