"""A version's metrics beside its champion's, for a terminal of 100 columns."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from backend.registry.scores import Compared, LabelScores, Scores
from backend.telemetry.printable import one_line


def show_scores(compared: Compared, console: Console) -> None:
    """Prints a row for each label in the ground truth or the detections, and below them the metrics of all labels."""
    own, champion = compared.own, compared.champion
    before = {one.label: one.mask_map for one in champion.labels} if champion else {}
    headings = ("garments", "mask mAP", "champion's", "mAP50", "precision", "recall", "IoU", "boundary IoU")
    columns = [Column("label", no_wrap=True), *(Column(heading, justify="right") for heading in headings)]
    table = Table(*columns, box=SIMPLE_HEAD)
    for one in own.labels:
        if one.instances or one.precision is not None:
            table.add_row(
                Text(one_line(one.label)), str(one.instances), *map(_said, _figures(one, before.get(one.label)))
            )
    console.print(table)
    console.print(_overall(own, champion), highlight=False)


def _figures(one: LabelScores, champions: float | None) -> tuple[float | None, ...]:
    return one.mask_map, champions, one.mask_map50, one.precision, one.recall, one.iou, one.boundary_iou


def _overall(own: Scores, champion: Scores | None) -> str:
    beside = f" (champion's {_said(champion.mask_map)})" if champion else ""
    time = f"{_said(own.ms_an_image, digits=1)} ms an image"
    if champion:
        time += f" (champion's {_said(champion.ms_an_image, digits=1)})"
    return (
        f"Means: mask mAP50-95 {_said(own.mask_map)}{beside}, mAP50 {_said(own.mask_map50)}; "
        f"box mAP50-95 {_said(own.box_map)}, mAP50 {_said(own.box_map50)}; "
        f"precision {_said(own.precision)}, recall {_said(own.recall)}; boundary IoU {_said(own.boundary_iou)}. "
        f"Pixels, background counted: mIoU {_said(own.miou)}, mean accuracy {_said(own.mean_accuracy)}, "
        f"overall accuracy {_said(own.overall_accuracy)}, Dice {_said(own.dice)}. "
        f"{own.images} images, {time}."
    )


def _said(figure: float | None, *, digits: int = 3) -> str:
    return "-" if figure is None else f"{figure:.{digits}f}"
