"""The CPU priority of a process among the others on its machine."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

logger = logging.getLogger(__name__)

# Values of `nice`, where 19 is the lowest priority. On one machine, the work that annotators wait for goes first, then
# pre-annotations, then trainings.
WORKER, TRAINING = 5, 10
AUTOGROUP = Path("/proc/self/autogroup")
# Linux accepts ten changes of this file a second, counted over the whole machine.
PAUSE_S, ATTEMPTS = 0.15, 20


def lower_priority(niceness: int) -> None:
    """Lowers the CPU priority of this process and of the processes that it starts.

    Linux may divide CPU time among sessions first, and only then among the processes of each session (sched(7), "The
    autogroup feature"): for a process in its own session `nice` alone would have no effect. So this function lowers the
    priority of the session, too, if this process leads it.
    """
    os.nice(niceness)
    if os.getsid(0) != os.getpid():
        return
    retrying = Retrying(
        retry=retry_if_exception_type(BlockingIOError),
        wait=wait_fixed(PAUSE_S),
        stop=stop_after_attempt(ATTEMPTS),
        reraise=True,
    )
    try:
        retrying(AUTOGROUP.write_text, str(niceness))
    except BlockingIOError:
        logger.warning("Linux refused to lower this session's CPU priority: too many sessions changed theirs at once.")
    except OSError:
        # The file does not exist: Linux weighs each process by itself or by its container, or this is not Linux.
        pass
