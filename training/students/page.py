"""The comparison as an HTML page without outside resources, and the same as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from backend.domain import LabelledMask, Pixels
from backend.errors import DrapeError, ReportError
from backend.storage.atomic_files import write_atomically
from backend.templates import template
from training.evaluation.held_out import HeldOut
from training.metrics.pixel_metrics import LabelMap
from training.report.pictures import ReportPicture, colours_of, in_words, picture
from training.students.budget import Budget
from training.students.compare import Result, holds, identity_of, read_failure, read_maps, read_result
from training.students.lesson import Lesson
from training.students.student import CLOTHING, Terms

TEMPLATE = "compare.html.jinja"
HTML, MARKDOWN, JSON = "comparison.html", "comparison.md", "comparison.json"
SHOWN_IMAGES, PICTURE_SIDE_PX = 12, 240
CLOTHING_COLOUR = "#cc79a7"


@dataclass(frozen=True)
class Column:
    """A column of the table: its heading, its value of a result, its digits, and whether more is better."""

    heading: str
    value: Callable[[Result], float | None]
    digits: int = 3
    more_is_better: bool = True


COLUMNS = (
    Column("mask mAP50-95", lambda one: one.scores.mask_map),
    Column("mask mAP50", lambda one: one.scores.mask_map50),
    Column("mIoU", lambda one: one.scores.miou),
    Column("mean accuracy", lambda one: one.scores.mean_accuracy),
    Column("overall accuracy", lambda one: one.scores.overall_accuracy),
    Column("Dice", lambda one: one.scores.dice),
    Column("boundary IoU", lambda one: one.scores.boundary_iou),
    Column("clothing IoU", lambda one: one.scores.clothing_iou),
    Column("clothing Dice", lambda one: one.scores.clothing_dice),
    Column("clothing boundary IoU", lambda one: one.scores.clothing_boundary_iou),
    Column("ms an image, CPU", lambda one: one.ms_cpu, 1, False),
    Column("ms an image, GPU", lambda one: one.ms_gpu, 1, False),
    Column("megabytes", lambda one: one.megabytes, 1, False),
    Column("minutes trained", lambda one: one.minutes, 1, False),
)
# Of which the page draws bars.
BARS = ("mask mAP50-95", "mIoU", "boundary IoU", "clothing IoU", "ms an image, CPU", "megabytes")
KINDS = {"instances": "garments", "label map": "label map", "clothing": "clothing or not"}


_RESULTS = TypeAdapter(list[Result])


@dataclass(frozen=True)
class Bar:
    """A student's bar: its length in percent of the longest, and its value in words."""

    name: str
    percent: float
    value: str


@dataclass(frozen=True)
class Row:
    """A held-out photograph: its number, and the truth and each student's answer as pictures, with a title each."""

    task_id: int
    pictures: tuple[tuple[str, ReportPicture], ...]


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to so far: the results in the students' order, and a sentence for each that failed."""

    title: str
    lesson: Lesson
    budget: Budget
    results: tuple[Result, ...]
    failures: dict[str, str]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns in which any student has a value."""
        return columns_of(self.results)


def read_comparison(folder: Path, students: Sequence[str], lesson: Lesson, terms: Terms, *, title: str) -> Comparison:
    """Reads what the students came to so far; what they came to in an earlier comparison does not count."""
    current = [name for name in students if holds(folder / name, identity_of(name, lesson, terms))]
    results = tuple(result for name in current if (result := read_result(folder, name)) is not None)
    failures = {name: sentence for name in current if (sentence := read_failure(folder, name))}
    return Comparison(title, lesson, terms.budget, results, failures)


def write_page(comparison: Comparison, folder: Path) -> Path:
    """Writes page, Markdown and JSON into a folder, and returns the page's path.

    Raises:
        ReportError: a picture or an answer cannot be read, or a file not be written.
    """
    try:
        write_atomically(folder / JSON, json.dumps(facts_of(comparison), indent=1) + "\n")
        write_atomically(folder / MARKDOWN, markdown_of(comparison))
        write_atomically(folder / HTML, _html(comparison, folder))
    except (OSError, KeyError, ValueError, DrapeError) as e:
        raise ReportError(f"The page of the comparison cannot be written: {e}") from e
    return folder / HTML


def results_in(folder: Path) -> tuple[tuple[Column, ...], tuple[Result, ...]]:
    """Returns the results that the comparison in a folder has as JSON, and the columns in which any has a value."""
    results = _RESULTS.validate_python(json.loads((folder / JSON).read_text())["students"])
    return columns_of(results), tuple(results)


def columns_of(results: Sequence[Result]) -> tuple[Column, ...]:
    """Returns the columns in which any student has a value."""
    return tuple(column for column in COLUMNS if any(column.value(one) is not None for one in results))


def facts_of(comparison: Comparison) -> dict[str, object]:
    """Returns the whole comparison as JSON has it."""
    lesson = comparison.lesson
    return {
        "budget": asdict(comparison.budget),
        "train_images": len(lesson.train),
        "judge_images": len(lesson.judge),
        "image_size_px": lesson.image_size_px,
        "labels": list(lesson.labels),
        "data_set": lesson.digest,
        "students": [asdict(one) for one in comparison.results],
        "failures": comparison.failures,
    }


def markdown_of(comparison: Comparison) -> str:
    """Returns the tables as Markdown, and below them what is to be known about the students."""
    headings = ["student", *(column.heading for column in comparison.columns)]
    rows = [[one.name, *(_cell(column, one) for column in comparison.columns)] for one in comparison.results]
    of_labels = [[label, *cells] for label, cells in label_rows(comparison)]
    labels_table = _table(["IoU of label (garments)", *(one.name for one in comparison.results)], of_labels)
    lines = [f"- {name}: {words}" for name, words in notes_of(comparison)]
    return (
        "\n\n".join(
            [f"# {comparison.title}", in_short(comparison), _table(headings, rows), labels_table, "\n".join(lines)]
        )
        + "\n"
    )


def in_short(comparison: Comparison) -> str:
    """Returns what was compared, and how, in sentences."""
    lesson = comparison.lesson
    return (
        f"Each student had {comparison.budget}, measured on training alone, on the same {len(lesson.train)} images at "
        f"{lesson.image_size_px} pixels, and was judged on the same {len(lesson.judge)} others. A label map counts as "
        "garments by the connected regions of a label: two that touch are one."
    )


def notes_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Returns for each student what it answers with, what it began with, and what went wrong."""
    notes = [
        (one.name, f"{KINDS[one.kind]}; began with {one.began_with}; {one.epochs:.1f} epochs. {one.note}".strip())
        for one in comparison.results
    ]
    return [*notes, *((name, f"failed: {sentence}") for name, sentence in comparison.failures.items())]


def label_rows(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Returns each label in the ground truth with the number of its garments, and each student's IoU."""
    rows = []
    for number, label in enumerate(comparison.lesson.labels):
        scores = [one.scores.labels[number] for one in comparison.results]
        if scores and scores[0].garments:
            rows.append((f"{label} ({scores[0].garments})", [_number(score.iou, 3) for score in scores]))
    return rows


def bars_of(comparison: Comparison) -> list[tuple[str, list[Bar]]]:
    """Returns the bars of each column that is drawn, in which any student has a value."""
    drawn = []
    for column in comparison.columns:
        if column.heading in BARS:
            values = {one.name: column.value(one) for one in comparison.results}
            longest = max((value for value in values.values() if value is not None), default=0.0) or 1.0
            bars = [
                Bar(name, 100 * (value or 0) / longest, _number(value, column.digits)) for name, value in values.items()
            ]
            drawn.append((column.heading + ("" if column.more_is_better else " (less is better)"), bars))
    return drawn


def hardest(results: Sequence[Result]) -> list[int]:
    """Returns the numbers of the held-out images that the students answered worst on average, hardest first."""
    if not results:
        return []
    means = np.mean([one.scores.images for one in results], axis=0)
    return [int(number) for number in np.argsort(means, kind="stable")[:SHOWN_IMAGES]]


def garments_in(one: LabelMap, labels: Sequence[str]) -> list[LabelledMask]:
    """Returns a mask for each label in a map; of a student that names none, all clothing."""
    return [LabelledMask(one == number, labels[number - 1]) for number in map(int, np.unique(one)) if number]


def _rows(comparison: Comparison, folder: Path) -> list[Row]:
    lesson, results = comparison.lesson, comparison.results
    chosen = hardest(results)
    answers = [(one, read_maps(folder, one.name, chosen)) for one in results]
    colours = {**colours_of(lesson.labels), CLOTHING: CLOTHING_COLOUR}
    rows = []
    for place, number in enumerate(chosen):
        shown: HeldOut = lesson.judge[number]
        pixels = shown.image.pixels
        pictures = [("approved", _picture(pixels, list(shown.truth), colours, "approved"))]
        for one, maps in answers:
            labels = [CLOTHING] if one.kind == "clothing" else lesson.labels
            title = f"{one.name}: {one.scores.images[number]:.2f}"
            pictures.append((title, _picture(pixels, garments_in(maps[place], labels), colours, one.name)))
        rows.append(Row(shown.task_id, tuple(pictures)))
    return rows


def _picture(pixels: Pixels, garments: Sequence[LabelledMask], colours: dict[str, str], who: str) -> ReportPicture:
    return picture(pixels, garments, colours, alt=f"{who}: {in_words(garments)}", side_px=PICTURE_SIDE_PX)


def _html(comparison: Comparison, folder: Path) -> str:
    return template(Path(__file__).parent / TEMPLATE).render(
        comparison=comparison,
        in_short=in_short(comparison),
        table=[(one.name, [_cell(column, one) for column in comparison.columns]) for one in comparison.results],
        label_rows=label_rows(comparison),
        bars=bars_of(comparison),
        notes=notes_of(comparison),
        colours=colours_of(comparison.lesson.labels),
        rows=_rows(comparison, folder),
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    marks = ["---", *["---:"] * (len(headings) - 1)]
    lines = [headings, marks, *([cell.replace("|", "/") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(column: Column, one: Result) -> str:
    return _number(column.value(one), column.digits)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
