"""Runs several programs as one: they stop together."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence

from launcher.errors import LauncherError

POLL_S = 0.2


def run_all(commands: Sequence[Sequence[str]]) -> None:
    """Runs the commands until one of them ends, or SIGTERM or SIGINT comes; then stops the others.

    Raises:
        LauncherError: one ended with an error, or was killed.
    """
    processes = [subprocess.Popen(command) for command in commands]

    def stop(*_: object) -> None:
        for process in processes:
            process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while all(process.poll() is None for process in processes):
        time.sleep(POLL_S)
    stop()
    failed = [" ".join(command) for command, process in zip(commands, processes, strict=True) if process.wait() != 0]
    if failed:
        raise LauncherError(f"{failed[0]} did not end well; see its log.")
