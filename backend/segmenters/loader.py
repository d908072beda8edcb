"""Chooses the segmenter, and loads it in the background: the service answers its first requests at once."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import TypeAlias

from backend.compute.malloc import trim_heap
from backend.errors import ModelError, ModelLoadingError, WeightsMissingError, first_line
from backend.segmenters.base import Segmenter
from backend.segmenters.sam_weights import AUTO, FOLDER, Download, auto_weights, download_weights, stored_weights
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

RETRY_WAIT_S = 300.0
# A process that ends waits so long for a segmenter that is being loaded.
END_TIMEOUT_S = 5.0
# Shown in place of a segmenter's name if none could be loaded.
FAILED = "failed"
Load: TypeAlias = Callable[[Settings, Metrics], Segmenter]


class SegmenterLoader:
    """Loads in the background what `choose` would load, and retries better ones; callers wait with a timeout.

    Where the weights of `SAM_WEIGHTS=auto` are missing, it downloads them while the next best segmenter answers.
    """

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
        self._closing = threading.Event()
        self._download: Download | None = None
        thread = threading.Thread(target=self._load, name="load-segmenter", daemon=True)
        thread.start()
        # OpenVINO aborts a process that ends while it compiles a network in another thread.
        atexit.register(self._end, thread)

    @property
    def name(self) -> str:
        """Name of the segmenter; `loading` while it loads; `failed` if it cannot be loaded."""
        future = self._future
        download = self._download
        if not future.done() or (future.exception() and download and not download.failure):
            return "loading"
        return FAILED if future.exception() else future.result().name

    @property
    def ready(self) -> Segmenter | None:
        """The segmenter once it is loaded; None while it loads, or if it cannot be loaded."""
        try:
            return self._future.result(0)
        except (FutureTimeout, ModelError):
            return None

    @property
    def download(self) -> Download | None:
        """The download of `SAM_WEIGHTS=auto`, while it lasts or if it failed; None where none is needed."""
        return self._download

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

    def close(self) -> None:
        """Stops the download and the retries."""
        self._closing.set()

    def _end(self, thread: threading.Thread) -> None:
        self.close()
        thread.join(END_TIMEOUT_S)

    def _load(self) -> None:
        """Retries until the best is loaded: GPU memory may become free, or weights may be added, in the meantime."""
        better, reported = _candidates(self._settings), set[str]()
        while True:
            segmenter, failures = _load_best(better, self._metrics, self._settings)
            told = _told(self._settings, failures)
            for name in told.keys() - reported:
                self._report(told[name])
            reported |= told.keys()
            if segmenter is not None or not self._future.done():
                self._replace(segmenter, failures)
            # Only segmenters that are better than the loaded one are tried again.
            better = {name: load for name, load in better.items() if name in failures}
            if any(isinstance(failure, WeightsMissingError) for failure in failures.values()):
                if self._fetch_weights():
                    continue
            else:
                self._download = None
            if not better or self._closing.wait(self._retry_wait_s):
                return

    def _fetch_weights(self) -> bool:
        """Downloads the weights of `SAM_WEIGHTS=auto`, once; returns whether they are there now.

        A failure is no problem to report: a machine without internet works with what it has.
        """
        if self._download is not None:
            return False
        path = auto_weights(self._settings)
        self._download = Download(path.name)
        try:
            download_weights(path, closing=self._closing, report=self._note)
        except ModelError as e:
            self._download = Download(path.name, failure=str(e))
            if not self._closing.is_set():
                logger.info(
                    "%s The next start tries again. To have SAM without internet, copy the file into %s; SAM_WEIGHTS= "
                    "(empty) asks for no download",
                    self._download,
                    path.parent,
                )
            return False
        return True

    def _note(self, download: Download) -> None:
        if not download.done_bytes:
            logger.info("Downloading %s, %.0f MB (SAM_WEIGHTS=auto)", download.file, download.total_bytes / 1e6)
        self._download = download

    def _replace(self, segmenter: Segmenter | None, failures: Mapping[str, ModelError]) -> None:
        loaded: Future[Segmenter] = Future() if self._future.done() else self._future
        try:
            loaded.set_result(segmenter or _last_resort(self._settings, failures))
        except ModelError as e:
            loaded.set_exception(e)
        self._future = loaded


def choose(settings: Settings, metrics: Metrics) -> Segmenter:
    """Loads the best segmenter that has weights: SAM 3, else SAM, else Drape's own. Logs the choice and why.

    Raises:
        ModelError: `SEGMENTER` names the segmenter, and it does not load.
    """
    segmenter, failures = _load_best(_candidates(settings), metrics, settings)
    for failure in _told(settings, failures).values():
        logger.warning("%s", failure)
    return segmenter or _last_resort(settings, failures)


def _candidates(settings: Settings) -> dict[str, Load]:
    """The segmenters to try, best first. Each loader imports its module only when called, because SAM imports torch."""
    known = (("sam3", settings.sam3_weights, _load_sam3), ("sam", settings.sam_weights, _load_sam))
    return {
        name: load
        for name, weights, load in known
        if settings.segmenter == name or (settings.segmenter == "auto" and weights)
    }


def _load_best(
    candidates: Mapping[str, Load], metrics: Metrics, settings: Settings
) -> tuple[Segmenter | None, dict[str, ModelError]]:
    """Returns the first that loads, or None, and why those before it do not, such as for lack of GPU memory."""
    failures: dict[str, ModelError] = {}
    for name, load in candidates.items():
        try:
            segmenter = load(settings, metrics)
        except ModelError as e:
            failures[name] = e
        except Exception as e:
            logger.exception("The segmenter %s does not load", name)
            trim_heap()
            failures[name] = ModelError(f"The segmenter '{name}' does not load: {first_line(e)}.")
        else:
            logger.info("Segmenter: %s", segmenter.name)
            return segmenter, failures
    return None, failures


def _last_resort(settings: Settings, failures: Mapping[str, ModelError]) -> Segmenter:
    if settings.segmenter in failures:
        raise failures[settings.segmenter]
    from backend.segmenters.builtin.network import load_builtin

    logger.info("Segmenter: builtin. With SAM3_WEIGHTS or SAM_WEIGHTS it is SAM")
    return load_builtin()


def _told(settings: Settings, failures: Mapping[str, ModelError]) -> dict[str, str]:
    """What people shall know of the failures, by segmenter: not that weights are still to be downloaded."""
    also = " The next best segmenter answers instead." if settings.segmenter == "auto" else ""
    return {
        name: f"{failure}{also}" for name, failure in failures.items() if not isinstance(failure, WeightsMissingError)
    }


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
    weights: str | Path | None = stored_weights(settings) if settings.sam_weights == AUTO else settings.sam_weights
    if weights == "":
        raise ModelError("SEGMENTER=sam needs weights: set SAM_WEIGHTS to their path, or to `auto` to download them.")
    if weights is None:
        raise WeightsMissingError(
            "The weights of SAM 2.1 and MobileSAM are missing. With SAM_WEIGHTS=auto the backend downloads them into "
            f"{settings.data_dir / FOLDER}, and the status page shows how far it is."
        )
    from backend.compute.devices import prepare_device
    from backend.segmenters.embedding_cache import embedding_cache
    from backend.segmenters.sam import load_sam

    device = prepare_device(settings)
    embeddings = embedding_cache(settings, device=device, metrics=metrics)
    return load_sam(str(weights), device=device, embeddings=embeddings, metrics=metrics)
