"""Runs a function in a process of its own, so that the memory of what it imports is free afterwards."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from backend.errors import DrapeError, ModelError, first_line

logger = logging.getLogger(__name__)


def run_in_own_process(function: Callable[..., None], *args: Any) -> None:
    """Runs the function to its end in a new Python process, which also ends when this call or this process does.

    Args:
        function: of a module, found again by its name.
        args: pickled.

    Raises:
        ModelError: the process was killed, for example because memory ran out; or its error cannot be pickled.
        Exception: whatever the function raises.
    """
    # A copy of this process (`fork`) would begin with its memory, and with locks that its threads hold.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, args))
    try:
        process.start()
        sender.close()
        error = receiver.recv()
    except EOFError as e:
        process.join()
        raise ModelError(f"A process ended early, perhaps because memory ran out (exit {process.exitcode}).") from e
    finally:
        # It has ended, unless this call is broken off.
        if process.pid is not None:
            process.kill()
            process.join()
        receiver.close()
    if error is not None:
        raise error


def _run(sender: Connection, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        function(*args)
    except Exception as e:
        if not isinstance(e, DrapeError):
            # Its traceback stays behind in this process.
            logger.exception("%s failed in its own process", function.__name__)
        sender.send(_portable(e))
    else:
        sender.send(None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """Returns the error, or its words where it cannot be pickled and read again."""
    try:
        pickle.loads(pickle.dumps(error))
    # Whatever a library's own methods for it raise.
    except Exception:  # noqa: BLE001
        return ModelError(f"{type(error).__name__}: {first_line(error)}")
    return error
