"""Compares students on a project's approved annotations: what each job of `drape compare` does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.compute.devices import prepare_device
from backend.connections import Connections
from backend.errors import DrapeError
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from training.finetuning.progress import TrainingProgress
from training.students.budget import Budget
from training.students.compare import compare_one
from training.students.lesson import Lesson, begun_with, project_lesson
from training.students.page import read_comparison, write_page
from training.students.student import Terms
from training.students.weights import Weights

# Names the comparison that deleted an earlier one.
BEGUN = "begun.txt"


@dataclass(frozen=True)
class Options:
    """What a comparison was asked for.

    Attributes:
        minutes, epochs: the budget; one of them is None.
        side_px: the longer side of the images; 0 is the project's own for trainings.
        download: whether pretrained weights may come from the internet.
        afresh: a name for this comparison, before which everything of an earlier one is deleted, once; '' goes on.
    """

    minutes: float | None
    epochs: int | None
    side_px: int = 0
    download: bool = True
    afresh: str = ""

    @property
    def budget(self) -> Budget:
        """Minutes of training, or epochs."""
        return Budget(self.minutes, self.epochs)


def timeout_s(options: Options, settings: Settings) -> int:
    """Returns the seconds after which a student's job is aborted: more than its training takes, and judging it."""
    return settings.train_timeout_s + round(60 * (options.minutes or 0))


def comparison_folder(settings: Settings, project_id: int) -> Path:
    """Returns the folder of a project's comparison: the page, and a folder for each student."""
    return settings.data_dir / "comparisons" / str(project_id)


def weights_folder(settings: Settings) -> Path:
    """Returns the folder in which pretrained weights are looked for, under the names that they were published by."""
    return settings.data_dir / "pretrained"


def compare_in_project(
    connections: Connections,
    project_id: int,
    student: str,
    students: Sequence[str],
    options: Options,
    *,
    report: Callable[[TrainingProgress], None],
) -> None:
    """Trains and judges one student, and writes the page of all that are judged so far, also where it fails.

    Raises:
        DatasetError: there are too few approved annotations.
        LabelStudioError, ModelError, StorageError, ReportError: Label Studio, the student or the disk failed.
    """
    settings, folder = connections.settings, comparison_folder(connections.settings, project_id)
    _begin_afresh(folder, options.afresh)
    champion = connections.registry.champion(project_id)
    begun = begun_with(folder)
    side_px = options.side_px or (
        begun.image_size_px
        if begun
        else settings.image_size_for_training_px(champion.image_size_px if champion else None)
    )
    lesson = project_lesson(connections, project_id, folder, image_size_px=side_px)
    title = f"Students of {connections.label_studio.project(project_id).title}"
    compare_and_show(student, students, lesson, terms_of(lesson, options, settings), folder, title=title, report=report)


def _begin_afresh(folder: Path, name: str) -> None:
    begun = folder / BEGUN
    if name and not (begun.is_file() and begun.read_text() == name):
        shutil.rmtree(folder, ignore_errors=True)
        write_atomically(begun, name)


def terms_of(lesson: Lesson, options: Options, settings: Settings) -> Terms:
    """Returns the terms of a comparison on this machine."""
    return Terms(
        labels=lesson.labels,
        image_size_px=lesson.image_size_px,
        budget=options.budget,
        weights=Weights(weights_folder(settings), may_download=options.download),
        settings=settings,
        device=prepare_device(settings),
    )


def compare_and_show(
    student: str,
    students: Sequence[str],
    lesson: Lesson,
    terms: Terms,
    folder: Path,
    *,
    title: str,
    report: Callable[[TrainingProgress], None],
) -> None:
    """Trains and judges one student, then writes the page of all that are judged so far, also where it fails.

    Raises:
        DrapeError: the student failed, or the page cannot be written.
    """
    try:
        compare_one(student, lesson, terms, folder, report)
    except DrapeError:
        _show(students, lesson, terms, folder, title)
        raise
    _show(students, lesson, terms, folder, title)


def _show(students: Sequence[str], lesson: Lesson, terms: Terms, folder: Path, title: str) -> None:
    write_page(read_comparison(folder, students, lesson, terms, title=title), folder)
