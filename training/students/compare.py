"""Trains and judges one student of a comparison, and keeps what came of it; none is judged twice."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from backend.compute.quiet_ultralytics import LOAD_ERRORS
from backend.errors import DrapeError, ModelError, first_line
from backend.storage.atomic_files import replacing, write_atomically
from training.finetuning.progress import TrainingProgress
from training.metrics.pixel_metrics import LabelMap
from training.students.lesson import Lesson
from training.students.roster import open_student
from training.students.scores import Judged, StudentScores, exported_ms, judge, torch_ms
from training.students.student import Kind, Student, Terms

logger = logging.getLogger(__name__)

RESULT, MAPS, IDENTITY, FAILURE, WORK = "result.json", "maps.npz", "identity.json", "failure.txt", "work"
EXPORT = "student.xml"


@dataclass(frozen=True)
class Result:
    """What a student came to.

    Attributes:
        minutes: of training alone.
        began_with: the initial weights, in words.
        image_size_px: the longer side of the images.
        ms_cpu: median of milliseconds an image, from pixels to garments, of the exported student in OpenVINO on the
            CPU; None where the export failed.
        ms_gpu: the same in PyTorch on the GPU; None without one.
        megabytes: the network's numbers in float32.
        note: what could not be done, in a sentence; '' if all could.
    """

    name: str
    kind: Kind
    minutes: float
    epochs: float
    began_with: str
    image_size_px: int
    ms_cpu: float | None
    ms_gpu: float | None
    megabytes: float
    parameters: int
    scores: StudentScores
    note: str = ""


_JSON = TypeAdapter(Result)


def compare_one(
    name: str, lesson: Lesson, terms: Terms, folder: Path, report: Callable[[TrainingProgress], None]
) -> Result:
    """Trains and judges a student in its own folder below `folder`; one that was interrupted goes on.

    A failure is kept as a sentence, for the page, and raised.

    Raises:
        DrapeError: the student cannot be had, trained or judged.
    """
    place, identity = folder / name, identity_of(name, lesson, terms)
    if not holds(place, identity):
        shutil.rmtree(place, ignore_errors=True)
        write_atomically(place / IDENTITY, identity)
    (place / FAILURE).unlink(missing_ok=True)
    done = read_result(folder, name)
    if done is not None:
        return done
    try:
        result, judged = _study(name, lesson, terms, place, report)
    except DrapeError as e:
        write_atomically(place / FAILURE, str(e))
        raise
    # A library that fails in any of these ways must not take the other students with it.
    except LOAD_ERRORS as e:
        sentence = f"{name} failed: {first_line(e)}"
        write_atomically(place / FAILURE, sentence)
        raise ModelError(sentence) from e
    with replacing(place / MAPS) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, *judged.maps)
    write_atomically(place / RESULT, json.dumps(asdict(result), indent=1))
    return result


def read_result(folder: Path, name: str) -> Result | None:
    """Returns what a student came to, or None where it was not judged yet, or its files are damaged."""
    try:
        return _JSON.validate_json((folder / name / RESULT).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        logger.warning("The result of %s cannot be read, and is made anew: %s", name, e)
        return None


def read_failure(folder: Path, name: str) -> str:
    """Returns why a student failed, in a sentence; '' if it did not."""
    path = folder / name / FAILURE
    return path.read_text() if path.is_file() else ""


def read_maps(folder: Path, name: str, numbers: Sequence[int]) -> list[LabelMap]:
    """Returns a student's answers to some of the held-out images, see `Judged.maps`.

    Raises:
        OSError, KeyError, ValueError: the file is missing or damaged.
    """
    with np.load(folder / name / MAPS) as file:
        return [file[f"arr_{number}"] for number in numbers]


def identity_of(name: str, lesson: Lesson, terms: Terms) -> str:
    """Returns what identifies a student's result, as text: results of other terms are not compared with it."""
    facts = {
        "student": name,
        "lesson": lesson.digest,
        "budget": asdict(terms.budget),
        "min_score": terms.settings.model_score_threshold,
        "device": terms.device,
    }
    return json.dumps(facts, sort_keys=True)


def holds(place: Path, identity: str) -> bool:
    """Returns whether a student's folder is of that training."""
    return (place / IDENTITY).is_file() and (place / IDENTITY).read_text() == identity


def _study(
    name: str, lesson: Lesson, terms: Terms, place: Path, report: Callable[[TrainingProgress], None]
) -> tuple[Result, Judged]:
    student = open_student(name, terms)
    learnt = student.train(lesson, place / WORK, report)
    min_score = terms.settings.model_score_threshold
    judged = judge(student, lesson, min_score=min_score, device=terms.device)
    ms_gpu = None
    if terms.device != "cpu":
        ms_gpu = round(torch_ms(student, lesson, min_score=min_score, device=terms.device), 2)
    ms_cpu, note = _export(student, place / EXPORT, lesson, min_score=min_score)
    size = student.size()
    result = Result(
        name=name,
        kind=student.kind,
        minutes=round(learnt.seconds / 60, 2),
        epochs=round(learnt.epochs, 2),
        began_with=learnt.began_with,
        image_size_px=lesson.image_size_px,
        ms_cpu=ms_cpu,
        ms_gpu=ms_gpu,
        megabytes=round(size.megabytes, 1),
        parameters=size.parameters,
        scores=judged.scores,
        note=note,
    )
    return result, judged


def _export(student: Student, file: Path, lesson: Lesson, *, min_score: float) -> tuple[float | None, str]:
    """Writes the student for OpenVINO, and times it there; returns milliseconds an image, and why there are none."""
    try:
        student.export(file)
        return round(exported_ms(student.open_export(file), lesson, min_score=min_score), 2), ""
    except ModelError as e:
        logger.warning("%s", e)
        return None, f"It is not timed on the CPU: {e}"
