"""Retries for jobs, while Label Studio restarts or the storage is unreachable."""

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

from backend.errors import LabelStudioUnavailableError, StorageUnavailableError

logger = logging.getLogger(__name__)

# The pauses add up to about ten minutes, besides the time of the attempts themselves.
MAX_ATTEMPTS = 35
MAX_PAUSE_S = 20
# For work that cannot continue without writing to the storage.
MAX_WRITE_ATTEMPTS, MAX_WRITE_PAUSE_S = 4, 4.0
# For quick jobs: others that need Label Studio wait behind them in the same queue.
MAX_SHORT_PAUSE_S = 5


def retrying(*, timeout_s: float | None = None) -> Retrying:
    """Retries repeatable work while Label Studio or the storage is unreachable; raises the last failure.

    Args:
        timeout_s: seconds for all attempts together, for work that other jobs wait behind; its pauses are shorter, too.
    """
    return Retrying(
        retry=retry_if_exception_type((LabelStudioUnavailableError, StorageUnavailableError)),
        wait=wait_exponential(max=MAX_PAUSE_S if timeout_s is None else MAX_SHORT_PAUSE_S),
        stop=stop_after_attempt(MAX_ATTEMPTS) if timeout_s is None else stop_before_delay(timeout_s),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )


def retrying_writes() -> Retrying:
    """Retries work that cannot continue without the storage; raises the last failure."""
    return Retrying(
        retry=retry_if_exception_type(StorageUnavailableError),
        wait=wait_exponential(multiplier=0.5, max=MAX_WRITE_PAUSE_S),
        stop=stop_after_attempt(MAX_WRITE_ATTEMPTS),
        reraise=True,
    )
