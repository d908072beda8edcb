"""Promptable models behind one small protocol. Adding one is a module here and a line in `choose`."""

from __future__ import annotations

import logging
from typing import Protocol

from backend.domain import Image, Prompt, Segment
from backend.errors import ModelError
from backend.settings import Settings

logger = logging.getLogger(__name__)


class Segmenter(Protocol):
    """A model that turns a prompt into masks. Thread-safe: it keeps no state between calls but its caches."""

    @property
    def name(self) -> str:
        """What answers, as it stands in `model_version`, `/health` and the log."""

    @property
    def reads_words(self) -> bool:
        """Whether `Prompt.words` means anything to it."""

    def segment(self, image: Image, prompt: Prompt) -> list[Segment]:
        """Masks `bool (H, W)` for the prompt, best first; `[]` when nothing was found.

        Raises:
            ModelError: the model failed.
        """


def choose(settings: Settings) -> Segmenter:
    """The best segmenter whose weights are there, loaded: SAM, else the classical one. Says which, and why.

    Raises:
        ModelError: `SEGMENTER=sam` asks for SAM alone, and it does not load.
    """
    # Imported on choice: SAM brings torch, and what is not chosen is not loaded.
    from backend.segmenters.classical import ClassicalSegmenter

    if settings.segmenter == "classical" or (settings.segmenter == "auto" and not settings.sam_weights):
        logger.info("Clicks are answered by the classical segmenter; set SAM_WEIGHTS for SAM")
        return ClassicalSegmenter()
    from backend.segmenters.sam import load_sam

    try:
        segmenter = load_sam(settings.sam_weights or "sam2.1_b.pt", device=settings.device)
    except ModelError as e:
        if settings.segmenter == "sam":
            raise
        logger.warning("%s Clicks are answered by the classical segmenter instead", e)
        return ClassicalSegmenter()
    logger.info("Clicks are answered by %s", segmenter.name)
    return segmenter
