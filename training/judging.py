"""Judges a new version: prepares, evaluates and calibrates it, and compares it with what answers today.

Whoever made the version, a training or a comparison, it is judged alike.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from backend.auto_accept.calibration import write_calibration
from backend.compute.devices import prepare_device
from backend.connections import Connections, promote_and_prelabel
from backend.detector.detector_pool import load_detector
from backend.detector.prepare import VERIFIED_IMAGES, prepare
from backend.detector.sam_detectors import WordsDetector
from backend.detector.yolo11 import ImageDetector
from backend.domain import Photo
from backend.errors import DrapeError, ModelError
from backend.images.fetch import ImageStore
from backend.images.sample import sample_images
from backend.label_studio.client import Project
from backend.label_studio.label_config import LabelConfig
from backend.predict.garments import lowest_threshold
from backend.registry.registry import Version
from backend.registry.scores import Compared, write_scores
from backend.registry.verdict import Verdict, read_verdict, write_verdict
from backend.segmenters.base import WordReader
from backend.segmenters.loader import choose
from backend.telemetry.metrics import Metrics
from training.auto_accept.calibrate import calibration_on
from training.evaluation.compact_scenes import CompactScenes, FoundBefore
from training.evaluation.held_out import HeldOut
from training.evaluation.promotion import decide_promotion, paired_bootstrap
from training.evaluation.score import MIN_EVALUATED_SCORE, Evaluated, evaluate_detector

logger = logging.getLogger(__name__)


class Judge:
    """Judges the new version of a project, and promotes it."""

    def __init__(
        self,
        connections: Connections,
        project: Project,
        config: LabelConfig,
        held_out: Callable[[int], Iterable[HeldOut]],
        *,
        before: Version | None,
    ) -> None:
        """Judges on the images that `held_out` returns, whose longer side has at most so many pixels as it is given.

        Neither the version nor `before`, the champion when it was made, was trained on any of them.
        """
        self._connections = connections
        self._project = project
        self._config = config
        self._held_out = held_out
        self._before = before

    def judge(self, version: Version) -> Verdict:
        """Returns the version's verdict, by a comparison with what is the champion now; stores it with the version.

        Somebody may roll back, or promote another version, while the version is made or while this evaluates.

        Raises:
            LabelStudioError, ModelError: Label Studio or a model failed.
            StorageError: the storage failed, or the held-out images' pixels cannot be stored.
        """
        verdict = read_verdict(version)
        while True:
            champion = self._current_champion(version)
            if verdict is not None and (champion is None or champion.name == verdict.champion):
                return verdict
            verdict, held_out, evaluated = self._evaluate(version, champion)
            write_verdict(version, verdict)
            self._write_report(version, held_out, evaluated)

    def promote(self, version: Version, verdict: Verdict) -> bool:
        """Promotes the version; returns False where another than the verdict's champion is the champion by now.

        Raises:
            QueueError, StorageError: Redis or the storage failed.
        """
        connections = self._connections
        return promote_and_prelabel(
            connections.registry, connections.queues, self._project.id, version.name, instead_of=verdict.champion or ""
        )

    def _current_champion(self, version: Version) -> Version | None:
        """Returns the champion as it is now; the one before, if this version has been promoted already."""
        registry = self._connections.registry
        registry.look_anew(self._project.id)
        champion = registry.champion(self._project.id)
        return self._before if champion is not None and champion.name == version.name else champion

    def _evaluate(self, version: Version, champion: Version | None) -> tuple[Verdict, list[HeldOut], Evaluated]:
        """Prepares the version, and evaluates it and the current predictor on the held-out images.

        Stores the metrics of both with the version.

        Returns:
            The verdict, the held-out images, and what the version's evaluation on them found.
        """
        held_out, detector = self._prepare(version)
        settings = self._connections.settings
        own = self._scored(version, detector, held_out)
        self._calibrate(version, detector, held_out, own.detections)
        predictor_name, champion_scores, gains = champion.name if champion else None, None, None
        predictor = self._current_predictor(champion)
        if predictor is not None:
            predictor_name = predictor[0]
            images = self._at_own_size(held_out, version, champion)
            of_champion = self._scored(version, predictor[1], held_out, images)
            champion_scores, gains = of_champion.scores, paired_bootstrap(own.matches, of_champion.matches)
        compared = Compared(own.scores, champion_scores)
        write_scores(version, compared)
        verdict = decide_promotion(
            compared,
            gains,
            champion_name=predictor_name,
            margin=settings.promote_margin,
            max_class_drop=settings.promote_class_drop,
        )
        return verdict, held_out, own

    def _prepare(self, version: Version) -> tuple[list[HeldOut], ImageDetector]:
        """Prepares runtime and clusters, verified on held-out images; returns these and the detector."""
        connections, side_px = self._connections, version.image_size_px
        device = prepare_device(connections.settings)
        held_out = list(self._held_out(side_px))
        verified = held_out[:VERIFIED_IMAGES]
        images = ImageStore(connections.settings, bearer=connections.label_studio.bearer)
        sample = sample_images(connections.label_studio, images, project_id=version.project_id, side_px=side_px)
        prepare(
            version,
            [*(held_out_image.image for held_out_image in verified), *sample],
            truth=[held_out_image.truth for held_out_image in verified] or None,
            device=device,
        )
        return held_out, load_detector(version, device=device).detector

    def _scored(
        self,
        version: Version,
        detector: ImageDetector,
        held_out: Sequence[HeldOut],
        images: Sequence[Photo] | None = None,
    ) -> Evaluated:
        min_score = self._connections.settings.model_score_threshold
        return evaluate_detector(
            detector, held_out, self._config, labels=version.classes, min_score=min_score, images=images
        )

    def _calibrate(
        self, version: Version, detector: ImageDetector, held_out: Sequence[HeldOut], found: CompactScenes
    ) -> None:
        """Finds the version's thresholds, by what its evaluation `found` if that is all that is asked for."""
        settings = self._connections.settings
        threshold = lowest_threshold(self._config, settings)
        if threshold >= MIN_EVALUATED_SCORE and found.are_complete(threshold):
            detector = FoundBefore(found)
        calibration = calibration_on(held_out, detector, self._config, settings)
        write_calibration(version, calibration)
        logger.info(
            "On %s held-out images %.0f %% would be accepted; thresholds: %s",
            calibration.images,
            100 * calibration.images_accepted,
            calibration.thresholds,
        )

    def _current_predictor(self, champion: Version | None) -> tuple[str, ImageDetector] | None:
        """Returns the current predictor, with its name: champion or SAM 3 with words; None if neither is available."""
        settings = self._connections.settings
        try:
            if champion is not None:
                return champion.name, load_detector(champion, device=prepare_device(settings)).detector
            if settings.may_read_words:
                reader = choose(settings, Metrics())
                if isinstance(reader, WordReader):
                    return reader.name, WordsDetector(reader, self._config)
        except ModelError as e:
            self._connections.problems.report(
                f"The new model is not compared with the current one: {e}", project_id=self._project.id
            )
        return None

    def _at_own_size(
        self, held_out: Sequence[HeldOut], version: Version, champion: Version | None
    ) -> list[Photo] | None:
        """Returns the held-out images at the champion's image size; None if that is the version's own."""
        if champion is None or champion.image_size_px == version.image_size_px:
            return None
        own = {one.task_id: one.image for one in self._held_out(champion.image_size_px)}
        return [own.get(held_out_image.task_id, held_out_image.image) for held_out_image in held_out]

    def _write_report(self, version: Version, held_out: Sequence[HeldOut], evaluated: Evaluated) -> None:
        """Writes the version's report; if that fails, reports the problem and leaves the version unchanged."""
        # Imported here because it takes a second, which every count of approvals would otherwise spend.
        from training.report.report import write_report

        connections = self._connections
        try:
            write_report(
                version,
                versions=connections.registry.versions(self._project.id),
                held_out=held_out,
                evaluated=evaluated,
                config=self._config,
                title=self._project.title,
                settings=connections.settings,
            )
        except DrapeError as e:
            connections.problems.report(str(e), project_id=self._project.id)
