"""Promptable models behind one small protocol. Adding one is a module here and a line in `choose`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from backend.domain import Photo, Prompt, Segment
from backend.errors import ModelError
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class Segmenter(Protocol):
    """A model that turns a prompt into masks. Thread-safe: it keeps no state between calls but its caches."""

    @property
    def name(self) -> str:
        """What answers, as it stands in `model_version`, `/health` and the log."""

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """Masks `bool (H, W)` for the prompt, best first; `[]` when nothing was found.

        Raises:
            PromptError: the prompt is not one that the model can answer.
            ImageError, LabelStudioError: the image is needed and cannot be read.
        """


@runtime_checkable
class ImageEncoder(Protocol):
    """A segmenter that has to see an image once, at length, before its prompts are answered at once."""

    def prepare(self, image: Photo) -> None:
        """Encodes the image ahead of its first prompt; who waits for an answer goes first.

        Raises:
            ImageError, LabelStudioError: the image cannot be read.
        """

    def finish(self) -> None:
        """Waits until everything that was encoded is kept; to be called before the process ends."""


@runtime_checkable
class WordReader(Protocol):
    """A segmenter that also finds what words name."""

    @property
    def name(self) -> str:
        """As of `Segmenter`."""

    def find_words(self, image: Photo, phrases: Sequence[str], *, min_score: float) -> list[Segment]:
        """Every instance of every phrase with a confidence above `min_score`, best first; `Segment.words` says which.

        Raises:
            ImageError, LabelStudioError: the image is needed and cannot be read.
        """


def choose(settings: Settings, metrics: Metrics) -> Segmenter:
    """The best segmenter whose weights are there, loaded: SAM 3, else SAM, else the classical one. Says which, and why.

    Raises:
        ModelError: `SEGMENTER` asks for one alone, and it does not load.
    """
    # What is not chosen is not loaded: SAM brings torch.
    for name, weights, load in (("sam3", settings.sam3_weights, _load_sam3), ("sam", settings.sam_weights, _load_sam)):
        if settings.segmenter != name and not (settings.segmenter == "auto" and weights):
            continue
        try:
            segmenter = load(settings, metrics)
        except ModelError as e:
            if settings.segmenter == name:
                raise
            logger.warning("%s The next best segmenter answers clicks instead", e)
            continue
        logger.info("Clicks are answered by %s", segmenter.name)
        return segmenter
    from backend.segmenters.classical import ClassicalSegmenter

    logger.info("Clicks are answered by the classical segmenter; set SAM3_WEIGHTS or SAM_WEIGHTS for SAM")
    return ClassicalSegmenter()


def _load_sam3(settings: Settings, metrics: Metrics) -> Segmenter:
    from backend.compute.devices import encoding_precision, ready_device
    from backend.segmenters.embedding_cache import embedding_cache
    from backend.segmenters.sam3 import Sam3Segmenter
    from backend.segmenters.sam3_checkpoint import load_sam3

    device = ready_device(settings)
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
    from backend.compute.devices import ready_device
    from backend.segmenters.embedding_cache import embedding_cache
    from backend.segmenters.sam import load_sam

    device = ready_device(settings)
    embeddings = embedding_cache(settings, device=device, metrics=metrics)
    return load_sam(settings.sam_weights or "sam2.1_b.pt", device=device, embeddings=embeddings, metrics=metrics)
