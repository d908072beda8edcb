"""Predicts whole images, stage by stage: label config → images → detector → garments → regions.

The stages overlap: images are loaded ahead of the detector, and the detector runs ahead of the stage that turns its
detections into regions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backend.detector.clusters import Clusters
from backend.detector.detector_pool import DetectorPool
from backend.detector.sam_detectors import RefinedDetector, WordsDetector
from backend.detector.yolo11 import ImageDetector
from backend.domain import Image, LabelScore, Prediction, Scene
from backend.errors import ImageError, ModelError
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import Task
from backend.predict.garments import lowest_threshold, score_of_nothing, stored_garments
from backend.segmenters.base import Segmenter, WordReader, segmenter_kind
from backend.settings import Settings
from backend.telemetry.request_ids import request_id, set_request_id

FETCH_THREADS = 4
# Images loaded ahead of the detector; more than FETCH_THREADS, so that one slow image does not hold up the others.
IMAGES_AHEAD = 8


@dataclass(frozen=True)
class Outcome:
    """The result for one task: a prediction, or the reason why there is none."""

    task_id: int
    prediction: Prediction | None = None
    problem: str | None = None


@dataclass(frozen=True)
class ActiveModel:
    """The model that predicts for a project now.

    Attributes:
        version: name of the model version.
        detector: returns the detector for a label config; a trained detector is the same for every config.
        classes: the classes that the detector knows; None where it looks for the words of the label config.
        number: the version's number in the project; 0 where SAM 3's words answer.
        clusters: None where the version has none.
        side_px: longer side of the image that the detector gets; None where it needs the full resolution.
        settings: the project's settings.
    """

    version: str
    detector: Callable[[LabelConfig], ImageDetector]
    settings: Settings
    classes: tuple[str, ...] | None = None
    number: int = 0
    clusters: Clusters | None = None
    side_px: int | None = None


@dataclass(frozen=True)
class _View:
    """A task with its image, or with the reason why it cannot be loaded."""

    task: Task
    image: Image | str


@dataclass(frozen=True)
class Batch:
    """Predicts whole images with the project's current detector, or with SAM 3's words before the project has one.

    Attributes:
        segmenter: returns the loaded segmenter, perhaps after a long load; called only for SAM's words or masks.
        builtin: returns Drape's own, which is loaded beside any other.
    """

    settings: Settings
    images: ImageStore
    detectors: DetectorPool
    segmenter: Callable[[], Segmenter]
    builtin: Callable[[], Segmenter]

    def active_model(self, project_id: int, *, version_name: str = "") -> ActiveModel | None:
        """The model that predicts for the project; None where there is none.

        Args:
            version_name: the version to use; '' for the project's current one.

        Raises:
            ModelError: there is no such version, its weights do not load, or the model of `REFINE` is not loaded.
            SettingsError: the project's own settings are invalid.
        """
        settings = self.settings.for_project(project_id)
        loaded = self.detectors.for_project(project_id, version_name=version_name)
        if loaded is not None:
            version = loaded.version
            detector: ImageDetector = loaded.detector
            refiner = self._refiner(settings)
            if refiner is not None:
                detector = RefinedDetector(detector, refiner)
            return ActiveModel(
                version.name,
                lambda _: detector,
                settings,
                classes=version.classes,
                number=version.number,
                clusters=loaded.clusters,
                side_px=version.image_size_px if refiner is None else None,
            )
        segmenter = self.segmenter() if settings.may_read_words else None
        if not isinstance(segmenter, WordReader):
            return None
        return ActiveModel(segmenter.name, lambda config: WordsDetector(segmenter, config), settings)

    def _refiner(self, settings: Settings) -> Segmenter | None:
        """The segmenter whose masks replace the detector's; None where the detector's remain."""
        if settings.refine == "off":
            return None
        if settings.refine == "builtin":
            return self.builtin()
        segmenter = self.segmenter()
        if settings.refine not in ("auto", segmenter_kind(segmenter)):
            raise ModelError(
                f"REFINE={settings.refine} asks for another model than '{segmenter.name}', which is loaded. Check "
                "SEGMENTER, SAM3_WEIGHTS and SAM_WEIGHTS, or set REFINE=auto. Weights that the backend is still "
                "downloading are used once they are there."
            )
        return segmenter

    def predict(
        self,
        tasks: Sequence[Task],
        config: LabelConfig,
        model: ActiveModel,
        *,
        deadline_s: float | None = None,
    ) -> Iterator[Outcome]:
        """Yields outcomes in the order of `tasks`, as they are ready.

        Ends early once `deadline_s` seconds have passed; the caller handles the tasks that have no outcome.

        Args:
            model: the model that predicts, from `active_model`; it stays in use even if another is promoted meanwhile.

        Raises:
            LabelStudioError: Label Studio does not answer; outcomes yielded before that are valid.
        """
        deadline = None if deadline_s is None else time.monotonic() + deadline_s
        views = _before_deadline(deadline, self._views(tasks, config, model.side_px))
        waiting: deque[_View] = deque()

        def images() -> Iterator[Image]:
            for view in views:
                waiting.append(view)
                if isinstance(view.image, Image):
                    yield view.image

        min_score = lowest_threshold(config, model.settings)
        for scene in model.detector(config).detect(images(), min_score=min_score):
            yield from _problems(waiting)
            view = waiting.popleft()
            original_wh = view.image.original_wh if isinstance(view.image, Image) else None
            yield Outcome(view.task.id, self.prediction(scene, model, config, original_wh))
        yield from _problems(waiting)

    def prediction(
        self, scene: Scene, model: ActiveModel, config: LabelConfig, original_wh: tuple[int, int] | None
    ) -> Prediction:
        """The prediction that is stored for what the model's detector found in an image.

        Args:
            original_wh: size of the photograph in pixels, if the detector got a smaller picture of it.
        """
        garments = stored_garments(scene, config, model.settings, model_version=model.version, original_wh=original_wh)
        label_scores = tuple(garment.label_score for garment in garments)
        regions: list[dict[str, object]] = [region for garment in garments for region in garment.regions]
        cluster = None
        if model.clusters is not None and scene.features is not None:
            cluster = model.clusters.number(scene.features, version=model.number)
        score = image_score(label_scores, nothing=score_of_nothing(scene, config, model.settings))
        return Prediction(regions, score, model.version, label_scores, cluster)

    def _views(self, tasks: Sequence[Task], config: LabelConfig, side_px: int | None) -> Iterator[_View]:
        """Yields each task's image, in order, and loads some ahead."""
        with ThreadPoolExecutor(FETCH_THREADS, initializer=set_request_id, initargs=(request_id(),)) as pool:
            ahead: deque[Future[_View]] = deque()
            try:
                for task in tasks:
                    ahead.append(pool.submit(self._view, task, config, side_px))
                    while len(ahead) > IMAGES_AHEAD:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for future in ahead:
                    future.cancel()

    def _view(self, task: Task, config: LabelConfig, side_px: int | None) -> _View:
        try:
            return _View(task, load_image(self.images, task, config, side_px=side_px))
        except ImageError as e:
            return _View(task, str(e))


def image_score(label_scores: Sequence[LabelScore], *, nothing: float) -> float:
    """The score of a whole image, in `[0, 1]`: the lowest score of its garments; `nothing` where it has none.

    Label Studio's uncertainty sampling serves the lowest score first: the image most likely to need a person.
    """
    return min((garment.score for garment in label_scores), default=nothing)


def _before_deadline(deadline: float | None, views: Iterable[_View]) -> Iterator[_View]:
    """Yields views until `deadline`; the first is never cut off."""
    for number, view in enumerate(views):
        if number and deadline is not None and time.monotonic() > deadline:
            return
        yield view


def _problems(waiting: deque[_View]) -> Iterator[Outcome]:
    """Removes views without an image from the head of `waiting`, and yields their outcomes."""
    while waiting and isinstance(reason := waiting[0].image, str):
        yield Outcome(task_id=waiting.popleft().task.id, problem=reason)
