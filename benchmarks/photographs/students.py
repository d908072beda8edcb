"""Compares architectures on annotated photographs, as `drape compare` does on a project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from backend.errors import DrapeError
from backend.label_studio.label_config import LabelConfig
from backend.settings import Settings
from training.evaluation.held_out import HeldOut
from training.finetuning.progress import TrainingProgress
from training.students.lesson import lesson_of
from training.students.project import Options, compare_and_show, terms_of


def compare_students(
    names: Sequence[str],
    photographs: Sequence[HeldOut],
    config: LabelConfig,
    options: Options,
    *,
    train_on: int,
    into: Path,
    report: Callable[[str, TrainingProgress], None],
) -> dict[str, str]:
    """Trains each student on the first `train_on` photographs and judges it on the others; the page lies in `into`.

    Returns:
        The students that failed, each with the reason; the others are compared all the same.

    Raises:
        DatasetError: there are no photographs to learn from, or none that judge.
    """
    settings = Settings()
    lesson = lesson_of(
        photographs[:train_on],
        photographs[train_on:],
        config.label_values,
        into / "set",
        image_size_px=options.side_px,
    )
    terms = terms_of(lesson, options, settings)
    failed = {}
    for name in names:
        try:
            compare_and_show(
                name,
                names,
                lesson,
                terms,
                into,
                title="Students on annotated photographs",
                report=partial(report, name),
            )
        except DrapeError as e:
            failed[name] = str(e)
    return failed
