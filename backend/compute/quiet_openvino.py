"""OpenVINO without telemetry: import it from here.

By itself it asks nobody, tells Google Analytics of every import and conversion, and keeps a number for this purpose in
the user's home.
"""

from __future__ import annotations

import sys

# Python then refuses to import it, and OpenVINO uses an empty class of its own instead.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402

__all__ = ["openvino"]
