"""The students by name. A new one is a module in `families`, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from backend.errors import ModelError
from training.students.families.mask_rcnn import open_mask_rcnn
from training.students.families.segformer import open_segformer
from training.students.families.unet import open_unet
from training.students.families.yolo import GARMENTS, Yolo
from training.students.student import Student, Terms

SIZES = ("n", "s", "m", "l", "x")
ROSTER: dict[str, Callable[[Terms], Student]] = {
    GARMENTS: partial(Yolo, GARMENTS),
    **{f"{release}{size}": partial(Yolo, f"{release}{size}") for release in ("yolo11", "yolov8") for size in SIZES},
    "mask-rcnn": open_mask_rcnn,
    "segformer-b2": open_segformer,
    "unet-mobilenetv2": open_unet,
}


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of students, each once.

    Raises:
        ModelError: there is no such student, or none is named.
    """
    for name in names:
        if name not in ROSTER:
            raise ModelError(f"There is no student '{name}'. The students are: {', '.join(ROSTER)}.")
    if not names:
        raise ModelError(f"Name one student at least. The students are: {', '.join(ROSTER)}.")
    return tuple(dict.fromkeys(names))


def open_student(name: str, terms: Terms) -> Student:
    """Returns a student that has learnt nothing yet.

    Raises:
        ModelError: there is none of that name, or its library is not installed.
    """
    check_names([name])
    return ROSTER[name](terms)
