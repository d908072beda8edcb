"""How much a process gives way to others on its machine."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

# As `nice` counts, where 19 is the least that a process can ask for. What annotators wait for on the same machine goes
# first, then pre-annotations, then trainings.
WORKER, TRAINING = 5, 10
SESSION = Path("/proc/self/autogroup")
# Linux takes ten a second, of the whole machine.
WAIT_S, ATTEMPTS = 0.15, 20


def give_way(niceness: int) -> None:
    """Lets others go first: this process, and what it starts.

    Linux may share the processor out among sessions first, and among the processes of each only then (sched(7), "The
    autogroup feature"): in a session of its own `nice` alone would mean nothing. So the session gives way, too, where
    this process leads it.
    """
    os.nice(niceness)
    if os.getsid(0) != os.getpid():
        return
    for _ in range(ATTEMPTS):
        try:
            SESSION.write_text(str(niceness))
            return
        except OSError as e:
            # Else there is no such file: processes are weighed alone, or by their containers.
            if e.errno != errno.EAGAIN:
                return
        time.sleep(WAIT_S)
