"""Trains detectors on few and on many photographs, by the product's own schedule, and judges them on others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backend.detector.yolo11 import Detector
from backend.label_studio.label_config import LabelConfig
from backend.settings import Settings
from training.evaluation.held_out import HeldOut
from training.evaluation.score import evaluate_detector
from training.finetuning.finetune import finetune
from training.finetuning.progress import TrainingProgress
from training.garment_base.photograph_set import load_weights, write_dataset

# Ultralytics validates after each epoch, which changes nothing in a training of fixed length and takes time.
VALIDATED_EACH_EPOCH = 4


@dataclass(frozen=True)
class Training:
    """How a detector is trained.

    Attributes:
        seed: the training's own.
        image_size_px: the longer side of the photographs, in training and when they are judged.
        initial: weights to start from; None for `YOLO11_BASE`.
    """

    seed: int
    image_size_px: int
    initial: Path | None


@dataclass(frozen=True)
class Result:
    """How good a training was: mask mAP on the photographs that judge, weight updates, and how long it took."""

    images: int
    seed: int
    mask_map50: float
    mask_map: float
    updates: int
    minutes: float


def draw(photographs: Sequence[HeldOut], number: int, *, seed: int) -> list[HeldOut]:
    """Returns so many of the photographs, drawn at random, in their order."""
    chosen = sorted(np.random.default_rng(seed).permutation(len(photographs))[:number])
    return [photographs[index] for index in chosen]


def train_once(
    training: Training,
    photographs: Sequence[HeldOut],
    judge: Sequence[HeldOut],
    config: LabelConfig,
    settings: Settings,
    *,
    weights_into: Path,
    report: Callable[[TrainingProgress], None],
) -> Result:
    """Trains on photographs, and judges the last epoch's averaged weights, which are written to a file.

    Raises:
        ModelError: the training failed.
    """
    seeded = settings.model_copy(update={"train_args": f"{settings.train_args} seed={training.seed}".strip()})
    started = time.monotonic()
    epochs = 0

    def after_epoch(progress: TrainingProgress) -> None:
        nonlocal epochs
        epochs = progress.epoch
        report(progress)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = write_dataset(
            photographs,
            judge[:VALIDATED_EACH_EPOCH],
            config.label_values,
            folder / "set",
            image_size_px=training.image_size_px,
        )
        trained = finetune(
            dataset,
            initial=training.initial,
            image_size_px=training.image_size_px,
            settings=seeded,
            folder=folder / "training",
            report=after_epoch,
        )
        weights_into.write_bytes(trained.weights.read_bytes())
    minutes = (time.monotonic() - started) / 60
    detector = load_weights(weights_into, image_size_px=training.image_size_px)
    return Result(
        len(photographs),
        training.seed,
        *judge_detector(detector, judge, config, settings),
        epochs * -(-dataset.drawn // settings.train_batch),
        round(minutes, 1),
    )


def judge_detector(
    detector: Detector, judge: Sequence[HeldOut], config: LabelConfig, settings: Settings
) -> tuple[float, float]:
    """Returns mask mAP50 and mAP50-95 on the photographs that judge, in `[0, 1]`."""
    scores = evaluate_detector(
        detector, judge, config, labels=config.label_values, min_score=settings.model_score_threshold
    ).scores
    return round(scores.mask_map50 or 0.0, 4), round(scores.mask_map or 0.0, 4)
