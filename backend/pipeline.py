"""Both answers, interactive and batch, stage by stage. The file to read first.

Interactive: label config → prompt → image → segmenter → regions.
Batch:       label config → images → detector → labels and thresholds → regions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from backend.detector import Detector, Detectors
from backend.domain import Detection, Image, LabelledMask, Prediction
from backend.errors import ImageError, PromptError
from backend.images import ImageStore
from backend.label_config import LabelConfig
from backend.prompts import parse_context
from backend.regions import encode, message
from backend.registry import Version
from backend.segmenters.loader import SegmenterLoader
from backend.settings import Settings
from backend.wire import Task

LOADING_PATIENCE_S = 5.0
BATCH_IMAGES = 8
FETCH_THREADS = 4


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


def load_image(images: ImageStore, task: Task, config: LabelConfig) -> Image:
    """The task's decoded image.

    Raises:
        ImageError: it is missing, refused, over a limit or not an image.
        LabelStudioError: Label Studio, which keeps it, is away or refuses the credentials.
    """
    return images.load(image_url(task, config), task_id=task.id)


def detections_to_prediction(
    detections: Sequence[Detection], config: LabelConfig, *, default_threshold: float, tolerance_px: float, version: str
) -> Prediction:
    """Detections under the project's labels, above each label's threshold, as one scored prediction.

    The prediction's score is that of its least certain region, so that the lowest is what a person should see first;
    an image without regions scores 0.
    """
    regions: list[dict[str, Any]] = []
    scores: list[float] = []
    for detection in detections:
        label = config.label_for(detection.class_name)
        if label is None or config.skips(label) or detection.score < config.threshold_for(label, default_threshold):
            continue
        labelled = LabelledMask(mask=detection.mask, label=label, score=detection.score)
        encoded = encode(labelled, config, tolerance_px=tolerance_px, model_version=version)
        if encoded:
            regions.extend(encoded)
            scores.append(detection.score)
    return Prediction(regions=regions, score=min(scores, default=0.0), model_version=version)


def lowest_threshold(config: LabelConfig, *, default_threshold: float) -> float:
    """The confidence below which no label of the config keeps a detection: what the detector is asked for."""
    kept = [config.threshold_for(label, default_threshold) for label in config.label_values if not config.skips(label)]
    return min(kept, default=default_threshold)


class Interactive:
    """Answers an annotator's prompts with the segmenter."""

    def __init__(self, settings: Settings, *, images: ImageStore, segmenter: SegmenterLoader) -> None:
        self.settings = settings
        self.images = images
        self.segmenter = segmenter

    def answer(self, task: Task, config: LabelConfig, context: dict[str, Any]) -> Prediction:
        """Regions for what the annotator clicked, boxed or wrote in one task.

        Raises:
            PromptError: the prompt cannot be answered; the message says why, to the annotator.
            ImageError, LabelStudioError: the image cannot be read.
            ModelError: no segmenter is ready.
        """
        segmenter = self.segmenter.get(timeout_s=LOADING_PATIENCE_S)
        image = load_image(self.images, task, config)
        prompt = parse_context(context, config, size_wh=image.size_wh)
        # Words that were written before may come along with a click: the click can be answered without them.
        if prompt.words and not segmenter.reads_words and not (prompt.points or prompt.boxes):
            raise PromptError("Words need SAM3, which is not installed. Click on the garment or draw a box instead.")
        if prompt.label is None:
            raise PromptError("Choose a label first, then click on the garment or draw a box.")
        segments = segmenter.segment(image, prompt)
        if not segments:
            raise PromptError("Nothing was found there. Click nearer to the middle of the garment, or draw a box.")
        # Points and boxes ask for one garment: the best of the candidates.
        labelled = LabelledMask(mask=segments[0].mask, label=prompt.label, score=segments[0].score)
        tolerance_px = self.settings.polygon_tolerance_px
        regions = encode(labelled, config, tolerance_px=tolerance_px, model_version=segmenter.name)
        return Prediction(regions=regions, score=segments[0].score, model_version=segmenter.name)

    def excuse(self, reason: str, config: LabelConfig) -> Prediction:
        """The reason why a prompt was not answered, in the config's message control; empty where it has none."""
        return Prediction(regions=message(reason, config), score=0.0, model_version=self.segmenter.name)


class Batch:
    """Answers whole images with the project's current detector."""

    def __init__(self, settings: Settings, *, images: ImageStore, detectors: Detectors) -> None:
        self.settings = settings
        self.images = images
        self.detectors = detectors

    def predict(
        self, tasks: Sequence[Task], config: LabelConfig, *, project_id: int, deadline_s: float | None = None
    ) -> Iterator[Outcome]:
        """Outcomes in the order of `tasks`, as they are ready.

        Ends early once `deadline_s` seconds have passed; the tasks not yielded are left to the caller. Yields nothing
        where the project has no model yet.

        Raises:
            LabelStudioError: Label Studio is away; what was yielded before stands.
            ModelError: the weights do not load.
        """
        current = self.detectors.for_project(project_id)
        if current is None:
            return
        detector, version = current
        started = time.monotonic()
        for first in range(0, len(tasks), BATCH_IMAGES):
            # Some progress is made however little time there is.
            if first and deadline_s is not None and time.monotonic() - started > deadline_s:
                return
            yield from self._predict_chunk(tasks[first : first + BATCH_IMAGES], config, detector, version)

    def _predict_chunk(
        self, tasks: Sequence[Task], config: LabelConfig, detector: Detector, version: Version
    ) -> Iterator[Outcome]:
        default = self.settings.model_score_threshold
        with ThreadPoolExecutor(max_workers=FETCH_THREADS) as pool:
            loaded = list(pool.map(lambda task: self._load_or_reason(task, config), tasks))
        images = [item for item in loaded if isinstance(item, Image)]
        min_score = lowest_threshold(config, default_threshold=default)
        detections = iter(detector.detect(images, min_score=min_score) if images else [])
        for task, item in zip(tasks, loaded, strict=True):
            if isinstance(item, str):
                yield Outcome(task_id=task.id, problem=item)
                continue
            prediction = detections_to_prediction(
                next(detections),
                config,
                default_threshold=default,
                tolerance_px=self.settings.polygon_tolerance_px,
                version=version.name,
            )
            yield Outcome(task_id=task.id, prediction=prediction)

    def _load_or_reason(self, task: Task, config: LabelConfig) -> Image | str:
        try:
            return load_image(self.images, task, config)
        except ImageError as e:
            return str(e)
