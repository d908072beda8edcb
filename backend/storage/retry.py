"""Waiting for a Label Studio that restarts, or a storage that is away, while a job runs."""

from __future__ import annotations

import logging

from tenacity import (
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
)

from backend.errors import LabelStudioAwayError, StorageAwayError

logger = logging.getLogger(__name__)

# Together some ten minutes of waiting, however long the work between them takes.
ATTEMPTS = 35
LONGEST_PAUSE_S = 20
# Of who writes to a storage, and has nothing else to go on with.
WRITE_ATTEMPTS, WRITE_PAUSE_S = 4, 4.0
# What is quick, and waits in the same queue as all else that Label Studio is asked.
SHORT_PAUSE_S = 5


def patiently(*, for_s: float | None = None) -> Retrying:
    """Attempts at a piece of work that can be begun again, while one of them is away; the last failure is raised.

    Args:
        for_s: seconds that it may take in all, for work that others wait behind: it is then tried more often, too.
    """
    return Retrying(
        retry=retry_if_exception_type((LabelStudioAwayError, StorageAwayError)),
        wait=wait_exponential(max=LONGEST_PAUSE_S if for_s is None else SHORT_PAUSE_S),
        stop=stop_after_attempt(ATTEMPTS) if for_s is None else stop_before_delay(for_s),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )


def insistently() -> Retrying:
    """Attempts at something that cannot go on without the storage; the last failure is raised."""
    return Retrying(
        retry=retry_if_exception_type(StorageAwayError),
        wait=wait_exponential(multiplier=0.5, max=WRITE_PAUSE_S),
        stop=stop_after_attempt(WRITE_ATTEMPTS),
        reraise=True,
    )
