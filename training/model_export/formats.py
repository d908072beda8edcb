"""The formats that Ultralytics exports to, and why a format cannot be made on this machine."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from logging import LogRecord
from subprocess import SubprocessError

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.errors import ModelError

# The errors that Ultralytics and its tools raise where something is missing or an export is impossible.
FAILURES = (
    ImportError,
    AssertionError,
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    OSError,
    SystemError,
    SubprocessError,
)
# The formats that lose nothing when they are exported for images of any shape. The other formats that Ultralytics can
# export this way must know the largest batch, or compute best with a known shape.
ANY_SHAPE = frozenset({"torchscript", "onnx", "openvino"})
# Ultralytics' warning about missing packages where it may not install them.
MISSING = re.compile(r"Ultralytics requirements? (\[.*?\]) not found")


@dataclass(frozen=True)
class EngineFormat:
    """A format that a model can be exported to.

    Attributes:
        name: Ultralytics' name of the format, such as `onnx`.
        title: the format's name in messages.
        device: the device to export and run on, as Ultralytics names it.
        any_shape: whether the export takes images of any shape; if not, it takes only squares.
    """

    name: str
    title: str
    device: str
    any_shape: bool


def find_format(name: str, *, half: bool, device: str) -> EngineFormat:
    """Returns the format of that name, for this machine.

    Args:
        half: whether half precision is requested.
        device: the device that models run on here, as Ultralytics names it.

    Raises:
        ModelError: Ultralytics has no such format (the message lists its formats), or it cannot be made here.
    """
    quiet_ultralytics()
    from ultralytics.engine.exporter import FP16_FORMATS, FP32_UNSUPPORTED_FORMATS, export_formats

    table = export_formats()
    formats = dict(zip(table["Argument"], zip(table["Format"], table["CPU"], table["GPU"], strict=True), strict=True))
    # The first row is PyTorch's own format.
    names = list(table["Argument"][1:])
    if name not in names:
        raise ModelError(f"There is no format '{name}'. Choose one of: {', '.join(names)}.")
    title, on_cpu, on_gpu = formats[name]
    if name in FP32_UNSUPPORTED_FORMATS - FP16_FORMATS:
        raise ModelError(f"{title} computes with integers, which Drape does not calibrate models for.")
    if half and name not in FP16_FORMATS:
        raise ModelError(f"{title} has no half precision.")
    cuda = device.startswith("cuda")
    if on_gpu and not on_cpu and not cuda:
        raise ModelError(f"{title} can only be exported on an NVIDIA GPU, and this machine has none (DEVICE={device}).")
    return EngineFormat(name, title, device if cuda and on_gpu else "cpu", name in ANY_SHAPE)


def missing_packages(warnings: Sequence[LogRecord], error: BaseException) -> str | None:
    """Returns a sentence that names the missing packages; None where the error has another cause.

    Args:
        warnings: Ultralytics' warnings, see `captured_warnings`.
        error: the error that Ultralytics then raised.
    """
    if not isinstance(error, ImportError):
        return None
    packages = [
        package
        for record in warnings
        for listed in MISSING.findall(record.getMessage())
        for package in ast.literal_eval(listed)
    ]
    if not packages:
        return f"The Python package of the module '{error.name}' is missing."
    return f"Packages are missing: pip install {shlex.join(dict.fromkeys(packages))}"
