"""How much a process gives way to others on its machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

logger = logging.getLogger(__name__)

# As `nice` counts, where 19 is the least that a process can ask for. What annotators wait for on the same machine goes
# first, then pre-annotations, then trainings.
WORKER, TRAINING = 5, 10
SESSION = Path("/proc/self/autogroup")
# Linux takes ten a second, of the whole machine.
PAUSE_S, ATTEMPTS = 0.15, 20


def give_way(niceness: int) -> None:
    """Lets others go first: this process, and what it starts.

    Linux may share the processor out among sessions first, and among the processes of each only then (sched(7), "The
    autogroup feature"): in a session of its own `nice` alone would mean nothing. So the session gives way, too, where
    this process leads it.
    """
    os.nice(niceness)
    if os.getsid(0) != os.getpid():
        return
    asking = Retrying(
        retry=retry_if_exception_type(BlockingIOError),
        wait=wait_fixed(PAUSE_S),
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    )
    try:
        asking(SESSION.write_text, str(niceness))
    except BlockingIOError:
        logger.warning("Too many sessions give way at once: this one goes before others as if it did not.")
    except OSError:
        # There is no such file: processes are weighed alone, or by their containers.
        pass
