"""Promptable models behind one small protocol. Adding one is a module here and a line in `loader.choose`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from backend.domain import Photo, Prompt, Segment

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
