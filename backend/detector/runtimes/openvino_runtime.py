"""Computes the network with OpenVINO, which is several times as fast as PyTorch on a CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from backend.compute.quiet_openvino import openvino as ov
from backend.detector.runtimes.base import Outputs, Precision
from backend.domain import Pixels
from backend.errors import ModelError, first_line

OUTPUTS = ("candidates", "prototypes", "features")


class OpenVinoRuntime:
    """An exported YOLO on the CPU, which computes several images at a time."""

    def __init__(
        self, file: Path, *, precision: Precision, hint: Literal["THROUGHPUT", "LATENCY"] = "THROUGHPUT"
    ) -> None:
        """Compiles a file that `openvino_export` wrote.

        Args:
            hint: `LATENCY` gives all cores to one image, for callers that have one after another.

        Raises:
            ModelError: the file is missing or damaged.
        """
        try:
            settings = {"PERFORMANCE_HINT": hint, "INFERENCE_PRECISION_HINT": precision}
            compiled = ov.Core().compile_model(file, "CPU", settings)
            parallel = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        except RuntimeError as e:
            raise ModelError(f"The exported model {file.name} does not load: {first_line(e)}") from e
        self.name = f"openvino-{precision}"
        # One more request than are computed at a time, so that the next image starts while an output is read.
        self._requests = [compiled.create_infer_request() for _ in range(parallel + 1)]

    def infer(self, images: Iterable[Pixels]) -> Iterator[Outputs]:
        """See `Runtime.infer`."""
        idle = list(self._requests)
        busy: deque[ov.InferRequest] = deque()
        try:
            for image in images:
                request = idle.pop()
                request.start_async([np.ascontiguousarray(image[None])])
                busy.append(request)
                if not idle:
                    yield _outputs(busy[0])
                    idle.append(busy.popleft())
            while busy:
                yield _outputs(busy[0])
                busy.popleft()
        finally:
            # If the caller stops half-way, its requests must finish before the next caller uses them.
            for request in busy:
                request.wait()


def _outputs(request: ov.InferRequest) -> Outputs:
    request.wait()
    return Outputs(*(request.get_tensor(name).data[0] for name in OUTPUTS))


def supported_precisions() -> tuple[Precision, ...]:
    """Returns the precisions in which this machine's CPU can compute, the fastest first."""
    native = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "f32") if native else ("f32",)
