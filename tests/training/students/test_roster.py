"""The students by name."""

from __future__ import annotations

import pytest

from backend.errors import ModelError
from launcher.commands.project import STUDENTS
from training.students.roster import ROSTER, check_names, open_student
from training.students.student import Terms


def test_the_students_of_the_command_are_there() -> None:
    names = STUDENTS.split(",")
    assert check_names(names) == tuple(names)


def test_an_unknown_student_is_answered_with_those_that_there_are(terms: Terms) -> None:
    for wrong in (["yolo11n", "yolo5"], []):
        with pytest.raises(ModelError) as raised:
            check_names(wrong)
        assert all(name in str(raised.value) for name in ROSTER)
    with pytest.raises(ModelError, match="There is no student 'yolo5'"):
        open_student("yolo5", terms)
