"""Loads the segmenter once, beside the running service, so that the first requests are answered at once."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

from backend.errors import ModelError, ModelLoadingError
from backend.segmenters.base import Segmenter, choose
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class SegmenterLoader:
    """One background load of `choose(settings, metrics)`, awaited with a time limit."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load-segmenter")
        self._future: Future[Segmenter] = executor.submit(choose, settings, metrics)
        executor.shutdown(wait=False)

    @property
    def name(self) -> str:
        """Name of the segmenter that answers; `loading` while it loads; `failed` where it cannot."""
        if not self._future.done():
            return "loading"
        return "failed" if self._future.exception() else self._future.result().name

    @property
    def ready(self) -> Segmenter | None:
        """The segmenter where it is loaded; None while it loads, and where it cannot be."""
        try:
            return self._future.result(0)
        except (FutureTimeout, ModelError):
            return None

    def get(self, *, timeout_s: float) -> Segmenter:
        """The loaded segmenter.

        Raises:
            ModelLoadingError: it is not ready after `timeout_s` seconds.
            ModelError: it cannot be loaded.
        """
        try:
            return self._future.result(timeout_s)
        except FutureTimeout as e:
            raise ModelLoadingError("The model is still loading. Try again in a few seconds.") from e
