"""A version's figures beside the champion's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.registry.scores import Compared, LabelScores, Scores
from training.report.score_table import COLUMNS, Cell, score_table

SAREE = LabelScores("saree", 4, *[0.5] * 10)
SCORES = Scores(3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 20.0, (SAREE,))

# The version's figure, the champion's, and what is said.
CASES = [
    (0.5, 0.4, Cell("0.500", "+0.100", True)),
    (0.4, 0.5, Cell("0.400", "-0.100", False)),
    # Differs by less than is shown.
    (0.5, 0.5004, Cell("0.500", "=", None)),
    (0.5, None, Cell("0.500")),
    (None, 0.5, Cell("n/a")),
]


@pytest.mark.parametrize(("own", "before", "said"), CASES)
def test_a_figure_is_compared(own: float | None, before: float | None, said: Cell) -> None:
    champion = replace(SCORES, recall=before, labels=(replace(SAREE, recall=before),))
    table = score_table(Compared(replace(SCORES, recall=own, labels=(replace(SAREE, recall=own),)), champion))
    place = table.columns.index("recall")
    assert table.rows[0].cells[place] == said and table.means.cells[place] == said
    assert (table.rows[0].name, table.rows[0].garments, len(table.rows[0].cells)) == ("saree", 4, len(COLUMNS))


def test_less_time_is_better() -> None:
    (_, pace) = score_table(Compared(SCORES, replace(SCORES, ms_an_image=25.0))).facts
    assert pace == ("ms an image", Cell("20.0", "-5.0", True))


def test_without_a_champion_nothing_is_compared() -> None:
    table = score_table(Compared(SCORES, None))
    cells = [*table.means.cells, *table.rows[0].cells, *(cell for _, cell in table.facts)]
    assert {cell.change for cell in cells} == {""}


def test_a_label_that_the_champion_lacks_stands_alone() -> None:
    table = score_table(Compared(SCORES, replace(SCORES, labels=())))
    assert {cell.change for cell in table.rows[0].cells} == {""} and table.means.cells[0].change == "="
