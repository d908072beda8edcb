"""A lesson of a few drawn figures, and terms under which a student learns for no longer than a test may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.domain import Image, LabelledMask
from backend.settings import Settings
from label_studio_config.demo.figures import LABELS, draw_figure
from training.evaluation.compact_scenes import CompactMasks
from training.evaluation.held_out import HeldOut, store_pixels
from training.students.budget import Budget
from training.students.lesson import Lesson, lesson_of
from training.students.student import Terms
from training.students.weights import Weights

SIDE_PX = 64


def drawn(seed: int, folder: Path) -> HeldOut:
    """A figure, not square, a quarter of its size."""
    figure = draw_figure(seed)
    step = max(figure.pixels.shape) // SIDE_PX
    image = store_pixels(Image(figure.pixels[::step, ::step].copy(), f"{seed:064}", "figure"), folder / f"{seed}.npy")
    garments = (LabelledMask(one.mask[::step, ::step].copy(), one.label) for one in figure.instances)
    return HeldOut(seed, seed, image, CompactMasks(one for one in garments if one.mask.any()))


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    """Two figures to learn from, three that judge."""
    figures = [drawn(seed, tmp_path / "pixels") for seed in range(1, 6)]
    return lesson_of(figures[:2], figures[2:], LABELS, tmp_path / "set", image_size_px=SIDE_PX)


def terms_of(lesson: Lesson, folder: Path, budget: Budget | None = None) -> Terms:
    """An epoch on the CPU, without any pretrained weights and without asking the internet."""
    weights = Weights(folder / "weights", may_download=False)
    return Terms(lesson.labels, lesson.image_size_px, budget or Budget(epochs=1), weights, Settings(), "cpu")


@pytest.fixture
def terms(lesson: Lesson, tmp_path: Path) -> Terms:
    """See `terms_of`."""
    return terms_of(lesson, tmp_path)
