"""Ultralytics without its phoning home; the one place that touches its global state."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def quiet_ultralytics() -> Any:
    """The `ultralytics` module, imported on first use: no syncing, no installing, few words, all of torch's cores.

    The settings are changed in memory alone: the user's own Ultralytics settings file stays as it is.
    """
    import torch
    import ultralytics
    from ultralytics import utils
    from ultralytics.utils import SETTINGS, checks, torch_utils

    # JSONDict.__setitem__ would write the user's settings file; an export would, once it had shown a hint.
    dict.__setitem__(SETTINGS, "sync", False)
    dict.__setitem__(SETTINGS, "openvino_msg", False)
    utils.AUTOINSTALL = checks.AUTOINSTALL = False
    # Where it chooses the CPU it sets torch to one core less than there are, for every model of the process: of two
    # cores, one.
    torch_utils.NUM_THREADS = torch.get_num_threads()
    its_logger = logging.getLogger("ultralytics")
    its_logger.setLevel(logging.WARNING)
    # What it warns of goes where our records go, and in their form; its own handler writes bare lines.
    for its_own in [one for one in its_logger.handlers if isinstance(one, logging.StreamHandler)]:
        its_logger.removeHandler(its_own)
        its_logger.propagate = True
    return ultralytics


@contextmanager
def overheard() -> Iterator[list[str]]:
    """What Ultralytics warns of goes into the list instead of the terminal; Python's own warnings go nowhere."""
    said: list[str] = []
    logger, listener = logging.getLogger("ultralytics"), _Listener(said)
    handlers, propagate = list(logger.handlers), logger.propagate
    logger.handlers, logger.propagate = [listener], False
    try:
        with warnings.catch_warnings():
            # torch's tracer, which it exports with, is on its way out.
            warnings.simplefilter("ignore")
            yield said
    finally:
        logger.handlers, logger.propagate = handlers, propagate


class _Listener(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps the message."""
        self._said.append(record.getMessage())
