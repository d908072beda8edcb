"""Both answers, interactive and batch, stage by stage. The file to read first.

Interactive: label config → prompt → image → segmenter → labels and layers → regions.
Batch:       label config → images → detector → labels and thresholds → regions.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from backend.clusters import Clusters
from backend.detector import ImageDetector
from backend.detectors import Detectors
from backend.domain import (
    Certainty,
    Detection,
    Image,
    LabelledMask,
    Outlining,
    Photo,
    Prediction,
    Prompt,
    Scene,
    Segment,
)
from backend.errors import ImageError, ModelError, PromptError, first_line
from backend.images import ImageStore
from backend.label_config import LabelConfig
from backend.layers import taken_pixels
from backend.prompts import parse_context
from backend.regions import encode, message
from backend.sam_detectors import RefinedDetector, WordsDetector
from backend.segmenters import Segmenter, WordReader
from backend.segmenters.loader import SegmenterLoader
from backend.settings import Settings
from backend.sticky_words import Phrase, StickyWords
from backend.wire import Drawn, PredictRequest, Task

logger = logging.getLogger(__name__)

LOADING_PATIENCE_S = 5.0
FETCH_THREADS = 4
# Decoded images that wait for the detector; more than are fetched at a time, so that a slow one stops nothing.
IMAGES_AHEAD = 8
# More instances of a phrase than a person can look through are no help.
MAX_INSTANCES = 100


@dataclass(frozen=True)
class Outcome:
    """What became of one task of a batch: a prediction, or the reason why there is none."""

    task_id: int
    prediction: Prediction | None = None
    problem: str | None = None


def image_url(task: Task, config: LabelConfig) -> str:
    """The address of the task's image, under the label config's data key.

    Raises:
        ImageError: the task holds no such key, or no text under it.
    """
    # Uploaded before a label config exists, the image lies under `$undefined$`.
    url = task.data.get(config.image_key) or task.data.get("$undefined$")
    if not isinstance(url, str) or not url:
        raise ImageError(f"Task {task.id} has no image under the key '{config.image_key}' that the label config names.")
    return url


def open_image(images: ImageStore, task: Task, config: LabelConfig) -> Photo:
    """The task's image, not fetched again where it was read before.

    Raises:
        ImageError, LabelStudioError: as `load_image`, for an image that is new.
    """
    return images.open(image_url(task, config), task_id=task.id)


def load_image(images: ImageStore, task: Task, config: LabelConfig, *, side_px: int | None = None) -> Image:
    """The task's decoded image, its longer side at most `side_px` where that is given.

    Raises:
        ImageError: it is missing, refused, over a limit or not an image.
        LabelStudioError: Label Studio, which keeps it, is away or refuses the credentials.
    """
    url = image_url(task, config)
    if side_px is not None:
        return images.load_reduced(url, task_id=task.id, side_px=side_px)
    return images.load(url, task_id=task.id)


def detections_to_prediction(
    detections: Sequence[Detection],
    config: LabelConfig,
    *,
    default_threshold: float,
    outlining: Outlining,
    version: str,
    original_wh: tuple[int, int] | None = None,
) -> Prediction:
    """Detections under the project's labels, above each label's threshold, as one scored prediction.

    The prediction's score is that of its least certain region, so that the lowest is what a person should see first;
    an image without regions scores 0.
    """
    regions: list[dict[str, Any]] = []
    certainties: list[Certainty] = []
    for detection in detections:
        label = config.label_for(detection.class_name)
        if label is None or config.skips(label) or detection.score < config.threshold_for(label, default_threshold):
            continue
        labelled = LabelledMask(mask=detection.mask, label=label, score=detection.region_score)
        encoded = encode(labelled, config, outlining=outlining, model_version=version, original_wh=original_wh)
        if encoded:
            regions.extend(encoded)
            certainties.append(Certainty(label, detection.region_score))
    score = min((one.score for one in certainties), default=0.0)
    return Prediction(regions=regions, score=score, model_version=version, certainties=tuple(certainties))


def lowest_threshold(config: LabelConfig, *, default_threshold: float) -> float:
    """The confidence below which no label of the config keeps a detection: what the detector is asked for."""
    kept = [config.threshold_for(label, default_threshold) for label in config.label_values if not config.skips(label)]
    return min(kept, default=default_threshold)


class Interactive:
    """Answers an annotator's prompts with the segmenter."""

    def __init__(
        self, settings: Settings, *, images: ImageStore, segmenter: SegmenterLoader, sticky: StickyWords
    ) -> None:
        self.settings = settings
        self.images = images
        self.segmenter = segmenter
        self.sticky = sticky

    def answer(self, request: PredictRequest, config: LabelConfig) -> Prediction:
        """Regions for what the annotator clicked, boxed or wrote in one task.

        Words that found something are remembered for the project.

        Raises:
            PromptError: the prompt cannot be answered; the message says why, to the annotator.
            ImageError, LabelStudioError: the image cannot be read.
            ModelError: no segmenter is ready.
        """
        task, project_id = request.tasks[0], request.project_id
        segmenter = self.segmenter.get(timeout_s=LOADING_PATIENCE_S)
        image = open_image(self.images, task, config)
        prompt = parse_context(
            request.context or {}, config, size_wh=image.size_wh, example_tag=self.settings.example_tag
        )
        if prompt.label is None and not prompt.asks_for_all:
            raise PromptError("Choose a label first, then click on the garment or draw a box.")
        prediction = self._answer(image, config, prompt, segmenter, request.drawn)
        if project_id is not None and prompt.words and prompt.asks_for_all:
            self.sticky.remember(project_id, Phrase(prompt.words, prompt.label))
        return prediction

    def answer_again(self, task: Task, config: LabelConfig, phrase: Phrase) -> Prediction | None:
        """Regions for a remembered phrase in a task that is opened; None where it finds nothing, or nothing reads it.

        Raises:
            ImageError, LabelStudioError: the image cannot be read.
        """
        segmenter = self.segmenter.ready
        if not isinstance(segmenter, WordReader):
            return None
        label = phrase.label if phrase.label in config.label_values else None
        image = open_image(self.images, task, config)
        try:
            return self._answer(image, config, Prompt(words=phrase.words, label=label), segmenter, Drawn)
        except PromptError:
            return None

    def excuse(self, reason: str, config: LabelConfig) -> Prediction:
        """The reason why a prompt was not answered, in the config's message control; empty where it has none."""
        return Prediction(regions=message(reason, config), score=0.0, model_version=self.segmenter.name)

    def _answer(
        self,
        image: Photo,
        config: LabelConfig,
        prompt: Prompt,
        segmenter: Segmenter,
        read_drawn: Callable[[], Drawn],
    ) -> Prediction:
        if prompt.asks_for_all and not isinstance(segmenter, WordReader):
            raise PromptError(
                "Words and examples need SAM 3, which is not installed. Click on the garment or draw a box instead."
            )
        try:
            segments = segmenter.segment(image, prompt)
        except RuntimeError as e:
            # Torch's own, of which running out of memory is the most likely.
            logger.exception("The segmenter %s failed", segmenter.name)
            raise ModelError(f"The model {segmenter.name} failed: {first_line(e)}") from e
        if not segments:
            raise PromptError(_nothing_found(prompt))
        # A click or a box means one garment, of which the best candidate is taken; words mean every one.
        wanted = segments[:MAX_INSTANCES] if prompt.asks_for_all else segments[:1]
        labelled = [_labelled(segment, prompt, config) for segment in wanted]
        labelled = _below_what_is_there(labelled, read_drawn, config)
        regions = [
            region
            for one in labelled
            for region in encode(one, config, outlining=self.settings.outlining, model_version=segmenter.name)
        ]
        score = min((one.score or 0.0 for one in labelled), default=0.0)
        return Prediction(regions=regions, score=score, model_version=segmenter.name)


def _labelled(segment: Segment, prompt: Prompt, config: LabelConfig) -> LabelledMask:
    """The segment under the label that its words name, else the chosen one, else the config's first."""
    named = config.label_named(segment.words) if segment.words else None
    return LabelledMask(segment.mask, named or prompt.label or config.label_values[0], segment.score)


def _below_what_is_there(
    labelled: list[LabelledMask], read_drawn: Callable[[], Drawn], config: LabelConfig
) -> list[LabelledMask]:
    """Masks of exclusive labels without the pixels of accepted regions; those that lose all are left out."""
    if not any(config.is_exclusive(one.label) for one in labelled):
        return labelled
    height, width = labelled[0].mask.shape
    free = ~taken_pixels(read_drawn(), (width, height))
    layered = [replace(one, mask=one.mask & free) if config.is_exclusive(one.label) else one for one in labelled]
    layered = [one for one in layered if one.mask.any()]
    if not layered:
        raise PromptError("All of it belongs to regions that you have accepted already.")
    return layered


def _nothing_found(prompt: Prompt) -> str:
    if not prompt.asks_for_all:
        return "Nothing was found there. Click nearer to the middle of the garment, or draw a box."
    if prompt.examples:
        return "Nothing like the example was found. Draw the box close around one whole garment."
    return f"No '{', '.join(prompt.words)}' was found. Try other words, or click on the garment."


@dataclass(frozen=True)
class Current:
    """What answers for a project now.

    Attributes:
        version: its name as a model version.
        number: its place in the project's line of models; 0 for words.
        clusters: None where it knows none.
        side_px: longer side of the image as the detector sees it; None where it wants all of it.
    """

    detector: ImageDetector
    version: str
    number: int = 0
    clusters: Clusters | None = None
    side_px: int | None = None


class Batch:
    """Answers whole images with the project's current detector, or, before it has one, with SAM 3's words."""

    def __init__(
        self,
        settings: Settings,
        *,
        images: ImageStore,
        detectors: Detectors,
        segmenter: Callable[[], Segmenter],
    ) -> None:
        """`segmenter` is called, and may take its time to load, where its words or its masks are needed."""
        self.settings = settings
        self.images = images
        self.detectors = detectors
        self.segmenter = segmenter

    def predict(
        self, tasks: Sequence[Task], config: LabelConfig, *, project_id: int, deadline_s: float | None = None
    ) -> Iterator[Outcome]:
        """Outcomes in the order of `tasks`, as they are ready.

        Ends early once `deadline_s` seconds have passed; the tasks not yielded are left to the caller. Yields nothing
        where the project has no model yet, and words have none that reads them.

        Raises:
            LabelStudioError: Label Studio is away; what was yielded before stands.
            ModelError: the weights do not load.
        """
        current = self._current(project_id, config)
        if current is None:
            return
        min_score = lowest_threshold(config, default_threshold=self.settings.model_score_threshold)
        started = time.monotonic()
        waiting: deque[tuple[Task, Image | str]] = deque()

        def images() -> Iterator[Image]:
            for number, (task, loaded) in enumerate(
                zip(tasks, self._loaded(tasks, config, current.side_px), strict=True)
            ):
                # Some progress is made however little time there is.
                if number and deadline_s is not None and time.monotonic() - started > deadline_s:
                    return
                waiting.append((task, loaded))
                if isinstance(loaded, Image):
                    yield loaded

        # Loading, inference and what follows overlap: each takes from the one before, ahead of the one behind.
        for scene in current.detector.detect(images(), min_score=min_score):
            yield from _problems(waiting)
            task, image = waiting.popleft()
            original_wh = image.original_wh if isinstance(image, Image) else None
            yield Outcome(task.id, self._prediction(scene, current, config, original_wh))
        yield from _problems(waiting)

    def model_version(self, project_id: int) -> str | None:
        """What answers for the project, by name; None where nothing does.

        Raises:
            ModelError: the weights do not load.
        """
        loaded = self.detectors.for_project(project_id)
        if loaded is not None:
            return loaded.version.name
        segmenter = self.segmenter() if self.settings.may_read_words else None
        return segmenter.name if isinstance(segmenter, WordReader) else None

    def _current(self, project_id: int, config: LabelConfig) -> Current | None:
        loaded = self.detectors.for_project(project_id)
        if loaded is not None:
            version = loaded.version
            if self.settings.refine_with_sam:
                refined = RefinedDetector(loaded.detector, self.segmenter())
                return Current(refined, version.name, version.number, loaded.clusters)
            return Current(loaded.detector, version.name, version.number, loaded.clusters, version.image_size_px)
        if not self.settings.may_read_words:
            return None
        segmenter = self.segmenter()
        return Current(WordsDetector(segmenter, config), segmenter.name) if isinstance(segmenter, WordReader) else None

    def _prediction(
        self, scene: Scene, current: Current, config: LabelConfig, original_wh: tuple[int, int] | None
    ) -> Prediction:
        prediction = detections_to_prediction(
            scene.detections,
            config,
            default_threshold=self.settings.model_score_threshold,
            outlining=self.settings.outlining,
            version=current.version,
            original_wh=original_wh,
        )
        if current.clusters is None or scene.features is None:
            return prediction
        return replace(prediction, cluster=current.clusters.number(scene.features, version=current.number))

    def _loaded(self, tasks: Sequence[Task], config: LabelConfig, side_px: int | None) -> Iterator[Image | str]:
        """Each task's image, or why it cannot be had; some are loaded ahead."""
        with ThreadPoolExecutor(max_workers=FETCH_THREADS) as pool:
            ahead: deque[Future[Image | str]] = deque()
            try:
                for task in tasks:
                    ahead.append(pool.submit(self._load_or_reason, task, config, side_px))
                    if len(ahead) > IMAGES_AHEAD:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for one in ahead:
                    one.cancel()

    def _load_or_reason(self, task: Task, config: LabelConfig, side_px: int | None) -> Image | str:
        try:
            return load_image(self.images, task, config, side_px=side_px)
        except ImageError as e:
            return str(e)


def _problems(waiting: deque[tuple[Task, Image | str]]) -> Iterator[Outcome]:
    """Takes the tasks at the head away that have no image."""
    while waiting and isinstance(reason := waiting[0][1], str):
        yield Outcome(task_id=waiting.popleft()[0].id, problem=reason)
