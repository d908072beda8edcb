"""Ultralytics without telemetry and automatic installs; the only module that changes its global state."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from backend.errors import ModelError, first_line

# What Ultralytics and torch raise for weights that are missing, damaged, or of another kind.
LOAD_ERRORS = (
    *(OSError, RuntimeError, ValueError, KeyError, AttributeError, ImportError, EOFError, TypeError),
    *(UnpicklingError, StopIteration),
)


def quiet_ultralytics() -> Any:
    """Imports `ultralytics` on first use: no syncing, no installs, few log messages, and all of torch's threads.

    The settings are changed in memory only: the user's own Ultralytics settings file stays as it is.
    """
    # Ultralytics exports with OpenVINO, see `quiet_openvino`.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import torch
    import ultralytics
    from ultralytics import utils
    from ultralytics.utils import SETTINGS, checks, torch_utils

    # JSONDict.__setitem__ would write the user's settings file; so would an export, after it shows its OpenVINO hint.
    dict.__setitem__(SETTINGS, "sync", False)
    dict.__setitem__(SETTINGS, "openvino_msg", False)
    utils.AUTOINSTALL = checks.AUTOINSTALL = False
    # When Ultralytics selects the CPU, it sets torch to this number of threads, for every model of the process. Its own
    # number is one less than the cores: one thread on two cores.
    torch_utils.NUM_THREADS = torch.get_num_threads()
    ultralytics_logger = logging.getLogger("ultralytics")
    ultralytics_logger.setLevel(logging.WARNING)
    # Its own handler writes bare lines. Without it, its warnings reach Drape's handlers and get their format.
    for handler in list(ultralytics_logger.handlers):
        if isinstance(handler, logging.StreamHandler):
            ultralytics_logger.removeHandler(handler)
            ultralytics_logger.propagate = True
    return ultralytics


def load_yolo(weights: str) -> Any:
    """Loads a YOLO segmentation model.

    Args:
        weights: a path; a name without a folder that is no file here is downloaded by Ultralytics (`yolo11n-seg.pt`).

    Raises:
        ModelError: the weights are missing, damaged, or of another kind, such as a model that finds boxes alone.
    """
    path = Path(weights)
    name = "/".join(path.parts[-3:])
    if path.name != weights and not path.is_file():
        # Ultralytics would look for a file of that name on its own servers.
        raise ModelError(f"The weights {name} do not load: there is no such file.")
    try:
        yolo = quiet_ultralytics().YOLO(weights, task="segment")
    except LOAD_ERRORS as e:
        raise ModelError(f"The weights {name} do not load: {first_line(e)}") from e
    if yolo.task != "segment":
        raise ModelError(
            f"The weights {name} are of a model for '{yolo.task}'. Masks need 'segment', such as yolo11n-seg.pt."
        )
    return yolo


@contextmanager
def captured_warnings() -> Iterator[list[logging.LogRecord]]:
    """Yields a list that gets Ultralytics' warnings in place of the terminal; suppresses Python's own warnings."""
    logger, handler = logging.getLogger("ultralytics"), BufferingHandler(sys.maxsize)
    handlers, propagate = list(logger.handlers), logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        with warnings.catch_warnings():
            # Ultralytics exports with torch's tracer, which is deprecated and warns of it.
            warnings.simplefilter("ignore")
            yield handler.buffer
    finally:
        logger.handlers, logger.propagate = handlers, propagate
