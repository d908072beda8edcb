"""Runs a training step by step: approvals, data set, fine-tuning, storing, evaluation, promotion.

`jobs.check_approvals` queues a training when enough labels are approved.

Each step leaves a file and can be repeated: if a worker is killed at any step, the next worker resumes there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version as release_of
from pathlib import Path
from typing import Any

from backend.auto_accept.calibration import write_calibration
from backend.compute.devices import prepare_device
from backend.connections import Connections, promote_and_prelabel
from backend.detector.detector_pool import load_detector
from backend.detector.prepare import VERIFIED_IMAGES, prepare
from backend.detector.sam_detectors import WordsDetector
from backend.detector.yolo11 import Detector, ImageDetector
from backend.domain import Image, Photo
from backend.errors import DrapeError, ModelError
from backend.images.fetch import ImageStore
from backend.images.sample import sample_images
from backend.images.task_image import load_image
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task
from backend.predict.garments import lowest_threshold
from backend.registry.registry import Version, check_weights
from backend.registry.scores import Compared, write_scores
from backend.registry.verdict import Verdict, read_verdict, write_verdict
from backend.segmenters.base import WordReader
from backend.segmenters.loader import choose
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from backend.telemetry.metrics import Metrics
from training.annotations.approvals import Approved
from training.annotations.count import approval_counter
from training.annotations.stored_regions import keep, kept
from training.auto_accept.calibrate import calibration_on
from training.dataset.build import Dataset, build_dataset
from training.dataset.manifest import DATASET_FILE, latest_manifest
from training.evaluation.compact_scenes import CompactScenes, FoundBefore
from training.evaluation.held_out import HeldOut, held_out_images
from training.evaluation.promotion import decide_promotion, paired_bootstrap
from training.evaluation.score import MIN_EVALUATED_SCORE, Evaluated, evaluate_detector
from training.finetuning.finetune import WEIGHTS_FILE, Trained, finetune
from training.finetuning.progress import TrainingProgress
from training.runs import dataset_folder, run_folder

logger = logging.getLogger(__name__)

CURVES_FILE = "epochs.csv"
RECORDED_PACKAGES = ("torch", "ultralytics-opencv-headless", "numpy", "faster-coco-eval", "label-studio-sdk")


class Retraining:
    """A training of a project's model on all approved annotations; it resumes a training that was killed."""

    def __init__(
        self, connections: Connections, project_id: int, *, report: Callable[[TrainingProgress], None]
    ) -> None:
        self._connections = connections
        self._project_id = project_id
        self._report = report
        self._folder = run_folder(connections.settings, project_id)
        # Names the version that this training has promoted: a rollback after it stands, though the training resumes.
        self._promoted = self._folder / "promoted"
        self._images = ImageStore(connections.settings, bearer=connections.label_studio.bearer)
        self._project = connections.label_studio.project(project_id)
        self._config = parse_label_config(self._project.label_config)
        self._champion = self._initial_champion()

    def run(self) -> tuple[Version, Verdict, Dataset]:
        """Trains, stores and evaluates a version and, if it is better, promotes it.

        Raises:
            DatasetError: no approved annotation can be trained on.
            LabelStudioError, ModelError, QueueError: Label Studio, a model or Redis failed.
            StorageError: the storage failed, or the held-out images' pixels cannot be stored.
        """
        connections, champion = self._connections, self._champion
        image_size_px = connections.settings.image_size_for_training_px(champion.image_size_px if champion else None)
        dataset = self._dataset(image_size_px)
        if champion is not None:
            check_weights(champion)
        trained = finetune(
            dataset,
            initial=champion.weights if champion else None,
            image_size_px=image_size_px,
            settings=connections.settings,
            folder=self._folder / "run",
            report=self._report,
        )
        version = self._store(trained, dataset, image_size_px)
        verdict = self._judge(version, dataset)
        # Somebody may promote another version after the verdict, too: then this one is judged against that.
        while verdict.promoted and not self._has_promoted(version) and not self._promote(version, verdict):
            verdict = self._judge(version, dataset)
        shutil.rmtree(self._folder, ignore_errors=True)
        return version, verdict, dataset

    def _initial_champion(self) -> Version | None:
        """Returns the champion at the start: the parent, if this training has already promoted its own version."""
        registry = self._connections.registry
        champion = registry.champion(self._project_id)
        weights = self._folder / "run" / WEIGHTS_FILE
        if champion is None or not weights.is_file() or _sha256(weights) != champion.weights_sha256:
            return champion
        return next(
            (version for version in registry.versions(self._project_id) if version.name == champion.parent), None
        )

    def _dataset(self, image_size_px: int) -> Dataset:
        connections, settings = self._connections, self._connections.settings

        def load(annotation: Approved) -> Image:
            task = Task(id=annotation.task_id, data=annotation.data)
            return load_image(self._images, task, self._config, side_px=image_size_px)

        dataset = build_dataset(
            self._approved(),
            self._config,
            folder=dataset_folder(settings, self._project_id) / "set",
            load=load,
            image_size_px=image_size_px,
            known_classes=self._champion.classes if self._champion else (),
            earlier=latest_manifest(connections.registry, self._project_id),
            hard_example_weight=settings.hard_example_weight,
            rare_label_share=settings.rare_label_share,
            split_by=settings.split_by,
        )
        for sentence in dataset.manifest.left_out:
            connections.problems.report(f"Left out of training: {sentence}", project_id=self._project_id)
        return dataset

    def _approved(self) -> list[Approved]:
        """Returns what was approved when the training began; later approvals count for the next training."""
        approved = kept(self._folder)
        if approved is None:
            approved = keep(approval_counter(self._connections, self._project_id).update().approved, self._folder)
        return approved

    def _store(self, trained: Trained, dataset: Dataset, image_size_px: int) -> Version:
        """Returns the version in the registry; adds it unless a killed run has already added it."""
        registry, champion = self._connections.registry, self._champion
        digest = _sha256(trained.weights)
        for version in registry.versions(self._project_id):
            if version.weights_sha256 == digest and version.dataset == dataset.manifest.digest:
                return version
        return registry.add(
            self._project_id,
            weights=trained.weights,
            classes=dataset.manifest.classes,
            parent=champion.name if champion else None,
            metrics=trained.metrics,
            annotations=dataset.annotation_hashes,
            image_size_px=image_size_px,
            origin="training",
            architecture=trained.architecture,
            dataset=dataset.manifest.digest,
            settings=_recorded_settings(self._connections.settings),
            packages={name: release_of(name) for name in RECORDED_PACKAGES},
            beside={DATASET_FILE: json.dumps(dataset.manifest.as_facts(), indent=1), CURVES_FILE: trained.curves},
        )

    def _judge(self, version: Version, dataset: Dataset) -> Verdict:
        """Returns the version's verdict, by a comparison with what is the champion now.

        Somebody may roll back, or promote another version, while the training runs or while this evaluates.
        """
        verdict = read_verdict(version)
        while True:
            champion = self._current_champion(version)
            if verdict is not None and (champion is None or champion.name == verdict.champion):
                return verdict
            verdict, held_out, evaluated = self._evaluate(version, dataset, champion)
            write_verdict(version, verdict)
            self._write_report(version, held_out, evaluated)

    def _promote(self, version: Version, verdict: Verdict) -> bool:
        connections = self._connections
        promoted = promote_and_prelabel(
            connections.registry, connections.queues, self._project_id, version.name, instead_of=verdict.champion or ""
        )
        if promoted:
            write_atomically(self._promoted, version.name)
        return promoted

    def _has_promoted(self, version: Version) -> bool:
        return self._promoted.is_file() and self._promoted.read_text() == version.name

    def _current_champion(self, version: Version) -> Version | None:
        """Returns the champion as it is now; the parent, if this training has already promoted its own version."""
        registry = self._connections.registry
        registry.look_anew(self._project_id)
        champion = registry.champion(self._project_id)
        return self._champion if champion is not None and champion.name == version.name else champion

    def _evaluate(
        self, version: Version, dataset: Dataset, champion: Version | None
    ) -> tuple[Verdict, list[HeldOut], Evaluated]:
        """Prepares the version, and evaluates it and the current predictor on images that neither learnt from.

        Stores the metrics of both with the version.

        Returns:
            The verdict, the held-out images, and what the version's evaluation on them found.
        """
        held_out, detector = self._prepare(version, dataset)
        settings = self._connections.settings
        own = self._scored(version, detector, held_out)
        self._calibrate(version, detector, held_out, own.detections)
        predictor_name, champion_scores, gains = champion.name if champion else None, None, None
        predictor = self._current_predictor(champion)
        if predictor is not None:
            predictor_name = predictor[0]
            images = self._at_own_size(held_out, dataset, version, champion)
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

    def _write_report(self, version: Version, held_out: Sequence[HeldOut], evaluated: Evaluated) -> None:
        """Writes the version's report; if that fails, reports the problem and leaves the version unchanged."""
        # Imported here because it takes a second, which every count of approvals would otherwise spend.
        from training.report.report import write_report

        connections = self._connections
        try:
            write_report(
                version,
                versions=connections.registry.versions(self._project_id),
                held_out=held_out,
                evaluated=evaluated,
                config=self._config,
                title=self._project.title,
                settings=connections.settings,
            )
        except DrapeError as e:
            connections.problems.report(str(e), project_id=self._project_id)

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

    def _at_own_size(
        self, held_out: Sequence[HeldOut], dataset: Dataset, version: Version, champion: Version | None
    ) -> list[Photo] | None:
        """Returns the held-out images at the champion's image size; None if that is the version's own."""
        if champion is None or champion.image_size_px == version.image_size_px:
            return None
        images = self._held_out(dataset, side_px=champion.image_size_px)
        own = {held_out_image.task_id: held_out_image.image for held_out_image in images}
        return [own.get(held_out_image.task_id, held_out_image.image) for held_out_image in held_out]

    def _held_out(self, dataset: Dataset, *, side_px: int) -> Iterator[HeldOut]:
        by_people = [annotation for annotation in dataset.held_out if annotation.by_person]
        folder = self._folder / "held_out"
        return held_out_images(by_people, self._config, self._images, side_px=side_px, folder=folder)

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
                f"The new model is not compared with the current one: {e}", project_id=self._project_id
            )
        return None

    def _prepare(self, version: Version, dataset: Dataset) -> tuple[list[HeldOut], Detector]:
        """Prepares runtime and clusters, verified on held-out images; returns these and the detector."""
        connections, side_px = self._connections, version.image_size_px
        device = prepare_device(connections.settings)
        held_out = list(self._held_out(dataset, side_px=side_px))
        verified = held_out[:VERIFIED_IMAGES]
        sample = sample_images(connections.label_studio, self._images, project_id=version.project_id, side_px=side_px)
        prepare(
            version,
            [*(held_out_image.image for held_out_image in verified), *sample],
            truth=[held_out_image.truth for held_out_image in verified] or None,
            device=device,
        )
        return held_out, load_detector(version, device=device).detector

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


def _recorded_settings(settings: Settings) -> dict[str, Any]:
    """Returns the settings that a training depends on, for the record."""
    names = ("train_", "promote_", "approval", "yolo11_", "hard_example_", "rare_label_")
    return {name: value for name, value in settings.model_dump(mode="json").items() if name.startswith(names)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
