"""Answers an annotator's prompt, stage by stage. Read this file first; `batch` predicts whole images.

Label config → prompt → image → segmenter → labels and layers → regions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from backend.domain import LabelledMask, Outlining, Photo, Prediction, Prompt, Segment
from backend.errors import ModelError, PromptError, first_line
from backend.images.fetch import ImageStore
from backend.images.task_image import open_image
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import DrawnRegions, PredictRequest, Task
from backend.label_studio.prompts import parse_context
from backend.predict.fix_in_place import FixInPlace
from backend.predict.recent_fixes import RecentFixes
from backend.predict.sticky_words import Phrase, StickyWords
from backend.regions.encode import encode, message
from backend.regions.exclusive import occupied_pixels
from backend.segmenters.base import Segmenter, WordReader
from backend.segmenters.loader import SegmenterLoader
from backend.settings import Settings

logger = logging.getLogger(__name__)

LOADING_TIMEOUT_S = 5.0
# An annotator cannot check more instances of a phrase than this.
MAX_INSTANCES = 100


@dataclass(frozen=True)
class Interactive:
    """Answers an annotator's prompts with the segmenter."""

    settings: Settings
    images: ImageStore
    segmenter: SegmenterLoader
    sticky_words: StickyWords
    recent_fixes: RecentFixes = field(default_factory=RecentFixes)

    def answer(self, request: PredictRequest, config: LabelConfig) -> Prediction:
        """Returns regions for the annotator's clicks, boxes, examples or words in one task.

        Words that found something are stored for the project (`StickyWords`).

        Raises:
            PromptError: the prompt cannot be answered; the message tells the annotator why.
            ImageError, LabelStudioError: the image cannot be read.
            ModelError: no segmenter is ready.
        """
        task, project_id = request.tasks[0], request.project_id
        settings = self.settings.for_project(project_id)
        segmenter = self.segmenter.get(timeout_s=LOADING_TIMEOUT_S)
        image = open_image(self.images, task, config)
        prompt = parse_context(request.context or {}, config, size_wh=image.size_wh, example_tag=settings.example_tag)
        if prompt.label is None and not prompt.asks_for_all:
            raise PromptError("Choose a label first, then click on the garment or draw a box.")
        fixed = self._fix(image, config, prompt, segmenter, task.id, request.drawn, settings.outlining)
        if fixed is not None:
            return fixed
        prediction = self._answer(image, config, prompt, segmenter, request.drawn, settings.outlining)
        if project_id is not None and prompt.words and prompt.asks_for_all:
            self.sticky_words.remember(project_id, Phrase(prompt.words, prompt.label))
        return prediction

    def answer_with_phrase(self, project_id: int, task: Task, config: LabelConfig, phrase: Phrase) -> Prediction | None:
        """Returns regions for a stored phrase in an opened task; None without detections or a segmenter for words.

        Raises:
            ImageError, LabelStudioError: the image cannot be read.
        """
        segmenter = self.segmenter.ready
        if not isinstance(segmenter, WordReader):
            return None
        label = phrase.label if phrase.label in config.label_values else None
        image = open_image(self.images, task, config)
        try:
            outlining = self.settings.for_project(project_id).outlining
            return self._answer(
                image, config, Prompt(words=phrase.words, label=label), segmenter, DrawnRegions, outlining
            )
        except PromptError:
            return None

    def explain_refusal(self, reason: str, config: LabelConfig) -> Prediction:
        """Puts the reason why a prompt was not answered into the config's message control, where it has one."""
        return Prediction(regions=message(reason, config), score=0.0, model_version=self.segmenter.name)

    def _fix(
        self,
        image: Photo,
        config: LabelConfig,
        prompt: Prompt,
        segmenter: Segmenter,
        task_id: int,
        read_drawn: Callable[[], DrawnRegions],
        outlining: Outlining,
    ) -> Prediction | None:
        """Returns a region that is shown, fixed by the clicks, under its own id; None if they ask for a new one."""
        if not prompt.points:
            return None
        fixing = FixInPlace(segmenter, self.recent_fixes)
        with _model_errors(segmenter):
            regions = fixing.fix(image, task_id, read_drawn(), prompt, config, outlining)
        if regions is None:
            return None
        return Prediction(regions=regions, score=0.0, model_version=segmenter.name)

    def _answer(
        self,
        image: Photo,
        config: LabelConfig,
        prompt: Prompt,
        segmenter: Segmenter,
        read_drawn: Callable[[], DrawnRegions],
        outlining: Outlining,
    ) -> Prediction:
        if prompt.asks_for_all and not isinstance(segmenter, WordReader):
            raise PromptError(
                "Words and examples need SAM 3, which is not installed. Click on the garment or draw a box instead."
            )
        with _model_errors(segmenter):
            segments = segmenter.segment(image, prompt)
        if not segments:
            raise PromptError(_nothing_found(prompt))
        # A click or a box asks for one garment: the best candidate. Words and examples ask for every instance.
        chosen = segments[:MAX_INSTANCES] if prompt.asks_for_all else segments[:1]
        labelled = [_with_label(segment, prompt, config) for segment in chosen]
        labelled = _without_occupied_pixels(labelled, read_drawn, config)
        regions = [
            region
            for garment in labelled
            for region in encode(garment, config, outlining=outlining, model_version=segmenter.name)
        ]
        score = min((garment.score or 0.0 for garment in labelled), default=0.0)
        return Prediction(regions=regions, score=score, model_version=segmenter.name)


@contextmanager
def _model_errors(segmenter: Segmenter) -> Iterator[None]:
    """Makes what PyTorch raises, most likely because it is out of memory, a `ModelError`."""
    try:
        yield
    except RuntimeError as e:
        logger.exception("The segmenter %s failed", segmenter.name)
        raise ModelError(f"The model {segmenter.name} failed: {first_line(e)}") from e


def _with_label(segment: Segment, prompt: Prompt, config: LabelConfig) -> LabelledMask:
    """The segment under the label that its words name, else the chosen label, else the config's first label."""
    named = config.label_named(segment.words) if segment.words else None
    return LabelledMask(segment.mask, named or prompt.label or config.label_values[0], segment.score)


def _without_occupied_pixels(
    labelled: list[LabelledMask], read_drawn: Callable[[], DrawnRegions], config: LabelConfig
) -> list[LabelledMask]:
    """Removes the pixels of accepted regions from masks of exclusive labels; drops masks that lose every pixel."""
    if not any(config.is_exclusive(garment.label) for garment in labelled):
        return labelled
    height, width = labelled[0].mask.shape
    free = ~occupied_pixels(read_drawn(), (width, height))
    clipped = [
        replace(garment, mask=garment.mask & free) if config.is_exclusive(garment.label) else garment
        for garment in labelled
    ]
    visible = [garment for garment in clipped if garment.mask.any()]
    if not visible:
        raise PromptError("Every pixel there belongs to a region that you have already accepted.")
    return visible


def _nothing_found(prompt: Prompt) -> str:
    if not prompt.asks_for_all:
        return "Nothing was found there. Click nearer to the middle of the garment, or draw a box."
    if prompt.examples:
        return "Nothing like the example was found. Draw the box close around one whole garment."
    return f"No '{', '.join(prompt.words)}' was found. Try other words, or click on the garment."
