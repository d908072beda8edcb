"""Builds the report's table of a version's metrics beside the champion's."""

from __future__ import annotations

from dataclasses import dataclass

from backend.registry.scores import Compared, LabelScores, Scores

# The column's title, its field in `LabelScores`, and the field of its mean in `Scores`.
COLUMNS = (
    ("mask AP50-95", "mask_map", "mask_map"),
    ("mask AP50", "mask_map50", "mask_map50"),
    ("box AP50-95", "box_map", "box_map"),
    ("box AP50", "box_map50", "box_map50"),
    ("precision", "precision", "precision"),
    ("recall", "recall", "recall"),
    ("IoU", "iou", "miou"),
    ("accuracy", "accuracy", "mean_accuracy"),
    ("Dice", "dice", "dice"),
    ("boundary IoU", "boundary_iou", "boundary_iou"),
)
# Smaller differences do not show in three digits.
SAME = 0.0005


@dataclass(frozen=True)
class Cell:
    """A metric, and its difference from the champion's.

    Attributes:
        change: the difference with its sign, '=' if both are equal, '' if there is nothing to compare with.
        better: None if both are equal, or there is nothing to compare with.
    """

    value: str
    change: str = ""
    better: bool | None = None


@dataclass(frozen=True)
class Row:
    """A label's metrics, in the columns' order, and its number of held-out garments."""

    name: str
    garments: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ScoreTable:
    """The columns' titles, a row per label, their means, and the metrics of all labels together, by name."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    means: Row
    facts: tuple[tuple[str, Cell], ...]


def score_table(compared: Compared) -> ScoreTable:
    """Builds the table of a version's metrics beside the champion's, if there was one."""
    own, champion = compared.own, compared.champion
    before = {label_scores.label: label_scores for label_scores in champion.labels} if champion else {}
    rows = tuple(_row(label_scores, before.get(label_scores.label)) for label_scores in own.labels)
    means = [_cell(_figure(own, mean), _figure(champion, mean)) for _, _, mean in COLUMNS]
    accuracy = _cell(own.overall_accuracy, champion.overall_accuracy if champion else None)
    pace = _cell(own.ms_an_image, champion.ms_an_image if champion else None, digits=1, less_is_better=True)
    return ScoreTable(
        columns=tuple(title for title, _, _ in COLUMNS),
        rows=rows,
        means=Row("mean of labels", sum(row.garments for row in rows), tuple(means)),
        facts=(("overall accuracy", accuracy), ("ms an image", pace)),
    )


def _row(own: LabelScores, champion: LabelScores | None) -> Row:
    cells = tuple(_cell(_figure(own, name), _figure(champion, name)) for _, name, _ in COLUMNS)
    return Row(own.label, own.instances, cells)


def _figure(scores: Scores | LabelScores | None, name: str) -> float | None:
    return None if scores is None else getattr(scores, name)


def _cell(own: float | None, champion: float | None, *, digits: int = 3, less_is_better: bool = False) -> Cell:
    if own is None:
        return Cell("n/a")
    if champion is None:
        return Cell(f"{own:.{digits}f}")
    difference = own - champion
    better = None if abs(difference) < SAME else (difference > 0) != less_is_better
    return Cell(f"{own:.{digits}f}", f"{difference:+.{digits}f}" if better is not None else "=", better)
