"""The protocols of promptable models. A new model needs a module in this folder and a line in `loader.choose`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from backend.domain import Mask, Photo, Point, Prompt, Segment


class Segmenter(Protocol):
    """A model that turns a prompt into masks. Thread-safe: it has no state between calls except its caches."""

    @property
    def name(self) -> str:
        """The segmenter's name in `model_version`, `/health` and the log."""

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """Returns masks `bool (H, W)` for the prompt, best first; `[]` if nothing was found.

        Raises:
            PromptError: the model cannot answer this prompt.
            ImageError, LabelStudioError: the image is needed and cannot be read.
        """


@runtime_checkable
class ImageEncoder(Protocol):
    """A segmenter that first encodes an image, which takes long, and then answers prompts for it quickly."""

    def prepare(self, image: Photo) -> None:
        """Encodes the image ahead of its first prompt; prompts that wait for an answer go first.

        Raises:
            ImageError, LabelStudioError: the image cannot be read.
        """

    def finish(self) -> None:
        """Waits until all embeddings are stored; others may follow."""


@runtime_checkable
class WordReader(Protocol):
    """A segmenter that also finds garments by words."""

    @property
    def name(self) -> str:
        """See `Segmenter.name`."""

    def find_words(self, image: Photo, phrases: Sequence[str], *, min_score: float) -> list[Segment]:
        """Returns all instances of all phrases with a confidence above `min_score`, best first; see `Segment.words`.

        Raises:
            ImageError, LabelStudioError: the image is needed and cannot be read.
        """


@runtime_checkable
class MaskRefiner(Protocol):
    """A segmenter that improves a mask that is there; others are asked for the garment in the mask's box."""

    def refine(self, image: Photo, mask: Mask) -> Mask:
        """Returns the mask with a better border, `bool (H, W)`; the mask itself where there is none.

        Raises:
            ImageError, LabelStudioError: the image cannot be read.
        """


@runtime_checkable
class MaskCorrector(Protocol):
    """A segmenter that takes a mask that is there, and clicks that correct it."""

    def correct(self, image: Photo, mask: Mask, points: Sequence[Point]) -> Mask:
        """Returns the corrected mask, `bool (H, W)`.

        Args:
            points: where the mask misses something (positive) or has too much (negative), in pixels. It may already be
                as the clicks before the last one corrected it.

        Raises:
            ImageError, LabelStudioError: the image cannot be read.
        """


def segmenter_kind(segmenter: Segmenter) -> Literal["sam3", "sam", "builtin"]:
    """Which kind of segmenter it is: SAM 3; SAM 2.1 or MobileSAM; Drape's own."""
    if isinstance(segmenter, WordReader):
        return "sam3"
    return "sam" if isinstance(segmenter, ImageEncoder) else "builtin"
