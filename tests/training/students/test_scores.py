"""A student's answers are judged like Drape's own models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.detector.exported.answers import Answer
from backend.detector.yolo11 import ImageDetector
from backend.domain import Detection, Photo, Scene
from backend.errors import ModelError
from training.evaluation.compact_scenes import CompactScenes
from training.evaluation.score import compute_scores
from training.finetuning.progress import TrainingProgress
from training.metrics.pixel_metrics import label_map
from training.students.lesson import Lesson
from training.students.scores import drawn, exported_ms, image_iou, judge, torch_ms
from training.students.student import Kind, Learnt, Size


class Knowing:
    """A student that knows the truth, and shrinks what it answers by so many pixels from the left."""

    def __init__(self, lesson: Lesson, kind: Kind, *, cut_px: int = 0) -> None:
        self.kind: Kind = kind
        self._lesson, self._cut_px = lesson, cut_px
        self._truth = {one.image.key: one for one in lesson.judge}

    def train(self, lesson: Lesson, folder: Path, report: Callable[[TrainingProgress], None]) -> Learnt:
        return Learnt(0, 0, "the truth")

    def predict(self, images: Iterable[Photo], *, min_score: float, device: str) -> Iterator[Answer]:
        for image in images:
            garments = []
            for place, one in enumerate(self._truth[image.key].truth):
                mask = one.mask.copy()
                mask[:, : self._cut_px] = False
                # What lies on top comes first.
                garments.append(Detection(mask, one.label, 0.5 + 0.01 * place))
            numbered = [(one.mask, 1 + self._lesson.labels.index(one.class_name)) for one in garments]
            seen = label_map(numbered, size_wh=image.size_wh)
            if self.kind == "clothing":
                yield Answer((), (seen > 0).astype(np.uint16))
            else:
                yield Answer(tuple(garments[::-1]), seen if self.kind == "label map" else None)

    def size(self) -> Size:
        return Size(0, 0.0)

    def export(self, file: Path) -> None:
        raise ModelError("It has no network.")

    def open_export(self, file: Path) -> ImageDetector:
        raise ModelError("It has no network.")


class OneByOne:
    """A detector that counts the images of each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        asked = list(images)
        self.calls.append(len(asked))
        return (Scene(()) for _ in asked)


@pytest.mark.parametrize("kind", ["instances", "label map"])
def test_who_knows_the_truth_is_perfect(lesson: Lesson, kind: Kind) -> None:
    judged = judge(Knowing(lesson, kind), lesson, min_score=0.25, device="cpu")
    scores = judged.scores
    assert (scores.mask_map, scores.mask_map50, scores.miou, scores.mean_accuracy) == (1, 1, 1, 1)
    assert (scores.overall_accuracy, scores.dice, scores.boundary_iou, scores.clothing_iou) == (1, 1, 1, 1)
    assert scores.images == (1, 1, 1)
    assert len(judged.maps) == 3 and all(one.any() for one in judged.maps)
    shown = [one for one in scores.labels if one.garments]
    assert shown and all((one.iou, one.mask_map) == (1, 1) for one in shown)
    assert all(one.iou is None is one.mask_map for one in scores.labels if not one.garments)


def test_metrics_are_those_of_the_evaluation_of_drapes_own_models(lesson: Lesson) -> None:
    student = Knowing(lesson, "instances", cut_px=20)
    scores = judge(student, lesson, min_score=0.25, device="cpu").scores
    images = [one.image for one in lesson.judge]
    scenes = CompactScenes(Scene(one.garments) for one in student.predict(images, min_score=0, device="cpu"))
    own, _ = compute_scores(
        [one.truth for one in lesson.judge],
        scenes,
        sizes_wh=[image.size_wh for image in images],
        labels=lesson.labels,
        min_score=0.25,
        ms_an_image=None,
    )
    for name in ("mask_map", "mask_map50", "miou", "mean_accuracy", "overall_accuracy", "dice", "boundary_iou"):
        assert getattr(scores, name) == getattr(own, name), name
    assert 0 < (scores.miou or 0) < 1


def test_who_names_no_labels_is_judged_on_clothing_alone(lesson: Lesson) -> None:
    scores = judge(Knowing(lesson, "clothing"), lesson, min_score=0.25, device="cpu").scores
    assert (scores.clothing_iou, scores.clothing_dice, scores.clothing_boundary_iou) == (1, 1, 1)
    assert scores.images == (1, 1, 1)
    assert scores.mask_map is scores.miou is scores.dice is scores.overall_accuracy is None
    assert all(one.iou is None is one.mask_map for one in scores.labels)
    cut = judge(Knowing(lesson, "clothing", cut_px=20), lesson, min_score=0.25, device="cpu").scores
    assert 0 < (cut.clothing_iou or 0) < 1


def test_garments_below_the_score_are_not_drawn_and_the_highest_lies_on_top(lesson: Lesson) -> None:
    masks = np.zeros((3, 4, 6), bool)
    masks[0, :2], masks[1, :3], masks[2, 3] = True, True, True
    first, second = lesson.labels[:2]
    garments = (Detection(masks[0], second, 0.9), Detection(masks[1], first, 0.5), Detection(masks[2], first, 0.1))
    seen = drawn(Answer(garments), lesson.labels, size_wh=(6, 4), min_score=0.25)
    assert seen.tolist() == [[2] * 6, [2] * 6, [1] * 6, [0] * 6]


def test_an_image_is_answered_by_the_mean_of_its_labels() -> None:
    truth = np.array([[1, 1, 0, 2]], np.uint16)
    answer = np.array([[1, 0, 0, 3]], np.uint16)
    assert image_iou(truth, answer, names_labels=True) == pytest.approx((0.5 + 0 + 0) / 3)
    assert image_iou(truth, answer, names_labels=False) == pytest.approx(2 / 3)
    assert image_iou(truth * 0, answer * 0, names_labels=True) == 1


def test_time_is_measured_on_one_image_as_on_many(lesson: Lesson) -> None:
    one = replace(lesson, judge=lesson.judge[:1])
    for few in (lesson, one):
        assert torch_ms(Knowing(few, "instances"), few, min_score=0.25, device="cpu") > 0
        detector = OneByOne()
        assert exported_ms(detector, few, min_score=0.25) >= 0
        # The first is not timed, and none is computed with another.
        assert detector.calls == [1] * (1 + len(few.judge))
