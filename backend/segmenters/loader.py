"""Chooses the segmenter, and loads it once in the background: the service answers its first requests at once."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

from backend.errors import ModelError, ModelLoadingError
from backend.segmenters.base import Segmenter
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class SegmenterLoader:
    """Runs `choose(settings, metrics)` once in the background; callers wait for the result with a timeout."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="load-segmenter")
        self._future: Future[Segmenter] = executor.submit(choose, settings, metrics)
        executor.shutdown(wait=False)

    @property
    def name(self) -> str:
        """Name of the segmenter; `loading` while it loads; `failed` if it cannot be loaded."""
        if not self._future.done():
            return "loading"
        return "failed" if self._future.exception() else self._future.result().name

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


def choose(settings: Settings, metrics: Metrics) -> Segmenter:
    """Loads the best segmenter that has weights: SAM 3, else SAM, else the classical one. Logs the choice and why.

    Raises:
        ModelError: `SEGMENTER` names the segmenter, and it does not load.
    """
    # Each loader imports its module only when it is called, because SAM imports torch.
    for name, weights, load in (("sam3", settings.sam3_weights, _load_sam3), ("sam", settings.sam_weights, _load_sam)):
        if settings.segmenter != name and not (settings.segmenter == "auto" and weights):
            continue
        try:
            segmenter = load(settings, metrics)
        except ModelError as e:
            if settings.segmenter == name:
                raise
            logger.warning("%s Using the next best segmenter instead", e)
            continue
        logger.info("Segmenter: %s", segmenter.name)
        return segmenter
    from backend.segmenters.classical import ClassicalSegmenter

    logger.info("Segmenter: classical. Set SAM3_WEIGHTS or SAM_WEIGHTS to use SAM")
    return ClassicalSegmenter()


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
