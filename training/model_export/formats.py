"""Which formats Ultralytics exports to, and what keeps it from one on this machine."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from subprocess import SubprocessError

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.errors import ModelError

# What Ultralytics and the tools behind it raise where something is missing or cannot be done.
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
# Of those that Ultralytics can export for images of any shape, those that lose nothing by it: others want to know the
# largest batch, or compute best what they know.
ANY_SHAPE = frozenset({"torchscript", "onnx", "openvino"})
# As Ultralytics says it where it may not install.
MISSING = re.compile(r"Ultralytics requirements? (\[.*?\]) not found")


@dataclass(frozen=True)
class EngineFormat:
    """One that a model can be exported to.

    Attributes:
        name: Ultralytics' name of it, such as `onnx`.
        title: for people.
        device: what to export and run on, as Ultralytics names it.
        any_shape: whether images of any shape go in; else squares alone.
    """

    name: str
    title: str
    device: str
    any_shape: bool


def find_format(name: str, *, half: bool, device: str) -> EngineFormat:
    """The format of that name, on this machine.

    Args:
        half: whether half precision is asked for.
        device: what models run on here, as Ultralytics names it.

    Raises:
        ModelError: Ultralytics knows none, or it is not for this machine; the message says what is.
    """
    quiet_ultralytics()
    from ultralytics.engine.exporter import FP16_FORMATS, FP32_UNSUPPORTED_FORMATS, export_formats

    table = export_formats()
    known = dict(zip(table["Argument"], zip(table["Format"], table["CPU"], table["GPU"], strict=True), strict=True))
    # The first is PyTorch's own.
    names = list(table["Argument"][1:])
    if name not in names:
        raise ModelError(f"There is no format '{name}'. There are: {', '.join(names)}.")
    title, on_cpu, on_gpu = known[name]
    if name in FP32_UNSUPPORTED_FORMATS - FP16_FORMATS:
        raise ModelError(f"{title} computes in whole numbers, which Drape does not calibrate models for.")
    if half and name not in FP16_FORMATS:
        raise ModelError(f"{title} has no half precision.")
    cuda = device.startswith("cuda")
    if on_gpu and not on_cpu and not cuda:
        raise ModelError(f"{title} is exported on an NVIDIA GPU, and there is none here (DEVICE={device}).")
    return EngineFormat(name, title, device if cuda and on_gpu else "cpu", name in ANY_SHAPE)


def missing_packages(said: Sequence[str], error: BaseException) -> str | None:
    """A sentence that says what to install; None where nothing is missing.

    Args:
        said: what Ultralytics warned of, see `overheard`.
        error: what it then raised.
    """
    if not isinstance(error, ImportError):
        return None
    wanted = [one for line in said for listed in MISSING.findall(line) for one in ast.literal_eval(listed)]
    if not wanted:
        return f"The Python package of the module '{error.name}' is missing."
    return f"Packages are missing: pip install {shlex.join(dict.fromkeys(wanted))}"
