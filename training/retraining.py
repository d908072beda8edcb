"""Runs a training step by step: approvals, data set, fine-tuning, storing, evaluation, promotion.

`jobs.check_approvals` queues a training when enough labels are approved.

Each step leaves a file and can be repeated: if a worker is killed at any step, the next worker resumes there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version as release_of
from pathlib import Path
from typing import Any

from backend.connections import Connections
from backend.domain import Image
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task
from backend.registry.registry import Version, check_weights
from backend.registry.verdict import Verdict
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from training.annotations.approvals import Approved
from training.annotations.count import approval_counter
from training.annotations.stored_regions import keep, kept
from training.dataset.build import Dataset, build_dataset
from training.dataset.manifest import DATASET_FILE, latest_manifest
from training.evaluation.held_out import HeldOut, held_out_images
from training.finetuning.finetune import WEIGHTS_FILE, Trained, finetune
from training.finetuning.progress import TrainingProgress
from training.judging import Judge
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
        # What is fine-tuned: no network of another architecture.
        self._base = connections.registry.newest_yolo(self._champion)

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
        if self._base is not None:
            check_weights(self._base)
        trained = finetune(
            dataset,
            initial=self._base.weights if self._base else None,
            image_size_px=image_size_px,
            settings=connections.settings,
            folder=self._folder / "run",
            report=self._report,
        )
        version = self._store(trained, dataset, image_size_px)
        held_out = partial(self._held_out, dataset)
        judge = Judge(connections, self._project, self._config, held_out, before=champion)
        verdict = judge.judge(version)
        # Somebody may promote another version after the verdict, too: then this one is judged against that.
        while verdict.promoted and not self._has_promoted(version) and not self._promote(judge, version, verdict):
            verdict = judge.judge(version)
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
            known_classes=self._base.classes if self._base else (),
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

    def _promote(self, judge: Judge, version: Version, verdict: Verdict) -> bool:
        promoted = judge.promote(version, verdict)
        if promoted:
            write_atomically(self._promoted, version.name)
        return promoted

    def _has_promoted(self, version: Version) -> bool:
        return self._promoted.is_file() and self._promoted.read_text() == version.name

    def _held_out(self, dataset: Dataset, side_px: int) -> Iterator[HeldOut]:
        by_people = [annotation for annotation in dataset.held_out if annotation.by_person]
        folder = self._folder / "held_out"
        return held_out_images(by_people, self._config, self._images, side_px=side_px, folder=folder)


def _recorded_settings(settings: Settings) -> dict[str, Any]:
    """Returns the settings that a training depends on, for the record."""
    names = ("train_", "promote_", "approval", "yolo11_", "hard_example_", "rare_label_")
    return {name: value for name, value in settings.model_dump(mode="json").items() if name.startswith(names)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
