"""Runs several programs that stop together."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence

from launcher.errors import LauncherError
from launcher.stack.supervisor import stop_with_parent

POLL_S = 0.2


def run_all(commands: Sequence[Sequence[str]]) -> None:
    """Runs the commands until one of them ends, or SIGTERM or SIGINT comes; then stops the others.

    Raises:
        LauncherError: the first that ended did so with an error, or was killed.
    """
    processes: list[subprocess.Popen[bytes]] = []

    def stop(*_: object) -> None:
        for process in processes:
            process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for command in commands:
        processes.append(subprocess.Popen(command, preexec_fn=stop_with_parent()))
    while all(process.poll() is None for process in processes):
        time.sleep(POLL_S)
    first = next(number for number, process in enumerate(processes) if process.returncode is not None)
    stop()
    for process in processes:
        process.wait()
    # One that is stopped while it starts does not yet handle the signal.
    if processes[first].returncode not in (0, -signal.SIGTERM):
        raise LauncherError(f"`{' '.join(commands[first])}` ended with an error; see the log.")
