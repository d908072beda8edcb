"""OpenVINO without telemetry: import it from here.

Otherwise OpenVINO reports every import and conversion to Google Analytics without asking, and stores an id for that in
the user's home.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from backend.errors import ModelError, first_line

# Python then refuses to import it, and OpenVINO uses an empty class of its own instead.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["convert_network", "openvino"]


def convert_network(network: Any, **options: Any) -> openvino.Model:
    """Returns PyTorch's network as OpenVINO's; `options` are those of `openvino.convert_model`.

    Raises:
        ModelError: OpenVINO cannot convert the network.
    """
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    with warnings.catch_warnings():
        # torch warns that its tracer, which OpenVINO uses, is deprecated, and that tracing fixes shape checks.
        warnings.simplefilter("ignore")
        try:
            return openvino.convert_model(network, **options)
        except (RuntimeError, TypeError, ValueError) as e:
            raise ModelError(f"OpenVINO cannot convert the model: {first_line(e)}") from e
        finally:
            # OpenVINO silences all warnings of the process while it converts, and for good where it fails.
            root.setLevel(level)
            root.filters[:], root.handlers[:] = filters, handlers
