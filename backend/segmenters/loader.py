"""Chooses the segmenter, and loads it in the background: the service answers its first requests at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from pathlib import Path

from backend.compute.malloc import trim_heap
from backend.errors import ModelError, ModelLoadingError, first_line
from backend.segmenters.base import Segmenter
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

RETRY_WAIT_S = 300.0


class SegmenterLoader:
    """Runs `choose` in the background, again after a failure; callers wait for the first result with a timeout."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        *,
        report: Callable[[str], object],
        retry_wait_s: float = RETRY_WAIT_S,
    ) -> None:
        """`report` gets each new failure, as a sentence for people."""
        self._settings = settings
        self._metrics = metrics
        self._report = report
        self._retry_wait_s = retry_wait_s
        self._future: Future[Segmenter] = Future()
        threading.Thread(target=self._load, name="load-segmenter", daemon=True).start()

    @property
    def name(self) -> str:
        """Name of the segmenter; `loading` while it loads; `failed` if it cannot be loaded."""
        future = self._future
        if not future.done():
            return "loading"
        return "failed" if future.exception() else future.result().name

    @property
    def ready(self) -> Segmenter | None:
        """The segmenter once it is loaded; None while it loads, or if it cannot be loaded."""
        try:
            return self._future.result(0)
        except (FutureTimeout, ModelError):
            return None

    def get(self, *, timeout_s: float) -> Segmenter:
        """Returns the loaded segmenter.

        Raises:
            ModelLoadingError: the segmenter is not ready after `timeout_s` seconds.
            ModelError: the segmenter cannot be loaded.
        """
        try:
            return self._future.result(timeout_s)
        except FutureTimeout as e:
            raise ModelLoadingError("The model is still loading. Try again in a few seconds.") from e

    def _load(self) -> None:
        """Loads until nothing fails: another program may leave the GPU's memory, or somebody put the weights there."""
        known: list[str] | None = None
        while True:
            failures: list[str] = []
            loaded: Future[Segmenter] = Future() if self._future.done() else self._future
            try:
                segmenter = choose(self._settings, self._metrics, report=failures.append)
                # What answers until then is replaced only by something better.
                if known is None or len(failures) < len(known):
                    loaded.set_result(segmenter)
                    self._future = loaded
            except ModelError as e:
                failures.append(str(e))
                if known is None:
                    loaded.set_exception(e)
            for failure in set(failures) - set(known or ()):
                self._report(failure)
            if not failures:
                return
            known = failures
            time.sleep(self._retry_wait_s)


def choose(settings: Settings, metrics: Metrics, *, report: Callable[[str], object] = logger.warning) -> Segmenter:
    """Loads the best segmenter that has weights: SAM 3, else SAM, else the classical one. Logs the choice and why.

    Args:
        report: gets a sentence about each segmenter that does not load and is passed over.

    Raises:
        ModelError: `SEGMENTER` names the segmenter, and it does not load.
    """
    # Each loader imports its module only when it is called, because SAM imports torch.
    for name, weights, load in (("sam3", settings.sam3_weights, _load_sam3), ("sam", settings.sam_weights, _load_sam)):
        if settings.segmenter != name and not (settings.segmenter == "auto" and weights):
            continue
        try:
            segmenter = _load_or_explain(name, partial(load, settings, metrics))
        except ModelError as e:
            if settings.segmenter == name:
                raise
            report(f"{e} The next best segmenter answers instead.")
            continue
        logger.info("Segmenter: %s", segmenter.name)
        return segmenter
    from backend.segmenters.classical import ClassicalSegmenter

    logger.info("Segmenter: classical. Set SAM3_WEIGHTS or SAM_WEIGHTS to use SAM")
    return ClassicalSegmenter()


def _load_or_explain(name: str, load: Callable[[], Segmenter]) -> Segmenter:
    """Loads; any failure, such as too little GPU memory while it warms up, becomes a `ModelError`."""
    try:
        return load()
    except ModelError:
        raise
    except Exception as e:
        logger.exception("The segmenter %s does not load", name)
        trim_heap()
        raise ModelError(f"The segmenter '{name}' does not load: {first_line(e)}.") from e


def _load_sam3(settings: Settings, metrics: Metrics) -> Segmenter:
    from backend.compute.devices import encoding_precision, prepare_device
    from backend.segmenters.embedding_cache import embedding_cache
    from backend.segmenters.sam3 import Sam3Segmenter
    from backend.segmenters.sam3_checkpoint import load_sam3

    device = prepare_device(settings)
    weights = Path(settings.sam3_weights or "sam3.pt")
    precision = encoding_precision(device, half=settings.sam_half)
    sam3 = load_sam3(weights, device=device, precision=precision, compiled=settings.sam_compile)
    embeddings = embedding_cache(settings, device=device, metrics=metrics)
    segmenter = Sam3Segmenter(
        sam3, name=weights.stem, min_score=settings.model_score_threshold, embeddings=embeddings, metrics=metrics
    )
    if device != "cpu" or settings.sam_compile:
        segmenter.warm_up()
    return segmenter


def _load_sam(settings: Settings, metrics: Metrics) -> Segmenter:
    from backend.compute.devices import prepare_device
    from backend.segmenters.embedding_cache import embedding_cache
    from backend.segmenters.sam import load_sam

    device = prepare_device(settings)
    embeddings = embedding_cache(settings, device=device, metrics=metrics)
    return load_sam(settings.sam_weights or "sam2.1_b.pt", device=device, embeddings=embeddings, metrics=metrics)
