"""A version's metrics beside its champion's, for a terminal of 100 columns."""

from __future__ import annotations

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from backend.errors import first_line
from backend.registry.scores import Compared, LabelScores, Scores
from backend.telemetry.printable import one_line


def show_scores(compared: Compared, console: Console) -> None:
    """Prints a row for each label in the ground truth or the detections, and below them the metrics of all labels."""
    own, champion = compared.own, compared.champion
    champions = {label.label: label.mask_map for label in champion.labels} if champion else {}
    headings = ("garments", "mask mAP", "champion's", "mAP50", "precision", "recall", "IoU", "boundary IoU")
    columns = [Column("label", no_wrap=True), *(Column(heading, justify="right") for heading in headings)]
    table = Table(*columns, box=SIMPLE_HEAD)
    for label in own.labels:
        if label.instances or label.precision is not None:
            metrics = _metrics(label, champions.get(label.label))
            table.add_row(Text(one_line(label.label)), str(label.instances), *map(_number, metrics))
    console.print(table)
    console.print(_overall(own, champion), highlight=False)


def show_students_scores(folder: Path, console: Console) -> tuple[str, ...]:
    """Prints a comparison's table and where its page is, and returns the students in it.

    None where the comparison is not on this machine or cannot be read, which is said.
    """
    from training.students.page import HTML, JSON, results_in

    if not (folder / JSON).is_file():
        console.print(f"There is no page in {folder}. If the worker is elsewhere, the page is there.", markup=False)
        return ()
    try:
        columns, rows = results_in(folder)
    except (OSError, ValueError, KeyError) as e:
        console.print(f"{folder / JSON} cannot be read: {first_line(e)}. --afresh begins anew.", markup=False)
        return ()
    # The metrics are the rows, as a terminal is not wide enough for them.
    table = Table("", *(Column(one.name, justify="right", overflow="fold") for one in rows), box=SIMPLE_HEAD)
    for column in columns:
        table.add_row(column.heading, *(_number(column.value(one), digits=column.digits) for one in rows))
    console.print(table)
    console.print(f"The page: {folder / HTML}", markup=False, highlight=False, soft_wrap=True)
    return tuple(one.name for one in rows)


def _metrics(label: LabelScores, champions_map: float | None) -> tuple[float | None, ...]:
    return label.mask_map, champions_map, label.mask_map50, label.precision, label.recall, label.iou, label.boundary_iou


def _overall(own: Scores, champion: Scores | None) -> str:
    champions_map = f" (champion's {_number(champion.mask_map)})" if champion else ""
    time = f"{_number(own.ms_an_image, digits=1)} ms per image"
    if champion:
        time += f" (champion's {_number(champion.ms_an_image, digits=1)})"
    return (
        f"Means: mask mAP50-95 {_number(own.mask_map)}{champions_map}, mAP50 {_number(own.mask_map50)}; "
        f"box mAP50-95 {_number(own.box_map)}, mAP50 {_number(own.box_map50)}; "
        f"precision {_number(own.precision)}, recall {_number(own.recall)}; boundary IoU {_number(own.boundary_iou)}. "
        f"Pixels, background counted: mIoU {_number(own.miou)}, mean accuracy {_number(own.mean_accuracy)}, "
        f"overall accuracy {_number(own.overall_accuracy)}, Dice {_number(own.dice)}. "
        f"{own.images} images, {time}."
    )


def _number(value: float | None, *, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
