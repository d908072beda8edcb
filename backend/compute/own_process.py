"""Runs a function in a process of its own, so that the memory of what it imports is free afterwards."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from backend.errors import ModelError


def run_in_own_process(function: Callable[..., None], *args: Any) -> None:
    """Runs the function to its end in a new Python process, which also ends when this call does.

    Args:
        function: of a module, found again by its name.
        args: pickled.

    Raises:
        ModelError: the process was killed, for example because memory ran out.
        Exception: whatever the function raises.
    """
    # A copy of this process (`fork`) would begin with its memory, and with locks that its threads hold.
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, args))
    process.start()
    sender.close()
    try:
        error = receiver.recv()
    except EOFError as e:
        raise ModelError("A process was killed, perhaps because memory ran out.") from e
    finally:
        # It has ended, unless this call is broken off.
        process.kill()
        process.join()
        receiver.close()
    if error is not None:
        raise error


def _run(sender: Connection, function: Callable[..., None], args: tuple[Any, ...]) -> None:
    try:
        function(*args)
    except Exception as e:  # noqa: BLE001
        sender.send(e)
    else:
        sender.send(None)
