"""OpenVINO without telemetry: import it from here.

Otherwise OpenVINO reports every import and conversion to Google Analytics without asking, and stores an id for that in
the user's home.
"""

from __future__ import annotations

import sys

# Python then refuses to import it, and OpenVINO uses an empty class of its own instead.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["openvino"]
