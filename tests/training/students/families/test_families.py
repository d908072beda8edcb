"""Every family learns from two pictures for an epoch, answers, has a size, and is exported; none is downloaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from backend.domain import Detection
from tests.training.students.conftest import terms_of
from training.finetuning.progress import TrainingProgress
from training.students.budget import Budget
from training.students.lesson import Lesson
from training.students.roster import open_student
from training.students.student import CLOTHING, Terms

pytestmark = pytest.mark.slow

# Name, what it answers with, millions of parameters.
STUDENTS = [
    ("yolov8n", "instances", 3.3),
    ("mask-rcnn", "instances", 45.9),
    ("segformer-b2", "label map", 27.4),
    ("unet-mobilenetv2", "clothing", 6.6),
]


def scored(garments: Iterable[Detection]) -> dict[str, float]:
    """The pixels of each label, as a share of the image, weighted by their score: no matter in which order."""
    shares: dict[str, float] = {}
    for one in garments:
        shares[one.class_name] = shares.get(one.class_name, 0.0) + one.score * float(one.mask.mean())
    return shares


@pytest.mark.parametrize(("name", "kind", "millions"), STUDENTS)
def test_a_student_learns_answers_and_is_exported(
    lesson: Lesson, terms: Terms, tmp_path: Path, name: str, kind: str, millions: float
) -> None:
    told: list[TrainingProgress] = []
    student = open_student(name, terms)
    learnt = student.train(lesson, tmp_path / "work", told.append)
    assert student.kind == kind
    assert learnt.epochs == 1 and learnt.seconds > 0
    assert learnt.began_with.startswith("random weights (") and "is not in weights/" in learnt.began_with
    assert [(one.epoch, one.epochs) for one in told] == [(1, 1)]
    assert all(np.isfinite(list(one.losses.values())).all() for one in told)

    images = [one.image for one in lesson.judge]
    answers = list(student.predict(images, min_score=0.01, device="cpu"))
    assert len(answers) == len(images)
    for image, answer in zip(images, answers, strict=True):
        width, height = image.size_wh
        assert width != height
        assert (answer.label_map is None) == (kind == "instances")
        if answer.label_map is not None:
            assert answer.label_map.shape == (height, width) and answer.label_map.dtype == np.uint16
            assert answer.label_map.max() <= len(lesson.labels)
        scores = [garment.score for garment in answer.garments]
        assert scores == sorted(scores, reverse=True)
        for garment in answer.garments:
            assert garment.mask.shape == (height, width) and garment.mask.dtype == bool and garment.mask.any()
            assert garment.class_name in (*lesson.labels, CLOTHING) and 0 <= garment.score <= 1

    size = student.size()
    assert size.parameters / 1e6 == pytest.approx(millions, abs=0.1)
    assert size.megabytes == pytest.approx(4 * millions, rel=0.05)
    student.export(tmp_path / "exported" / "student.xml")
    exported = student.open_export(tmp_path / "exported" / "student.xml")
    # The same network in another engine, for images of another shape than the one that it was traced with.
    for answer, scene in zip(answers, exported.detect(images, min_score=0.01), strict=True):
        assert scored(scene.detections) == pytest.approx(scored(answer.garments), abs=0.01)

    # What is learnt is not learnt again.
    again = open_student(name, terms).train(lesson, tmp_path / "work", told.append)
    assert again == learnt and len(told) == 1


@pytest.mark.parametrize("name", ["yolo11n-garments", "unet-mobilenetv2"])
def test_a_student_that_was_stopped_goes_on_after_its_last_epoch(lesson: Lesson, tmp_path: Path, name: str) -> None:
    terms = terms_of(lesson, tmp_path, Budget(epochs=3))
    told: list[int] = []

    def stop(progress: TrainingProgress) -> None:
        told.append(progress.epoch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_student(name, terms).train(lesson, tmp_path / "work", stop)
    learnt = open_student(name, terms).train(lesson, tmp_path / "work", lambda progress: told.append(progress.epoch))
    assert told == [1, 2, 3]
    assert learnt.epochs == 3


@pytest.mark.parametrize("name", ["yolo11n", "segformer-b2"])
def test_minutes_end_a_training_between_two_batches(lesson: Lesson, tmp_path: Path, name: str) -> None:
    terms = terms_of(lesson, tmp_path, Budget(minutes=1e-6))
    learnt = open_student(name, terms).train(lesson, tmp_path / "work", lambda progress: None)
    # One batch: with two pictures that is an epoch.
    assert learnt.epochs == 1
