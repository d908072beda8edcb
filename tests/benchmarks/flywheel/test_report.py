from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks.flywheel.prices import Prices
from benchmarks.flywheel.report import all_tables, labelled, markdown, plot
from tests.benchmarks.flywheel.generations import generation

GENERATIONS = [generation(0), generation(1), generation(2)]


def test_the_tables_have_a_row_a_generation() -> None:
    (_, models), (title, at_target), (_, at_lower) = all_tables(GENERATIONS, Prices())
    assert [row[:4] for row in models[1:]] == [
        ("0", "0", "", "0.000"),
        ("1", "2", "yes", "0.100"),
        ("2", "4", "no", "0.200"),
    ]
    kept, at_lower_kept, deleted, accepted, right, training = models[2][4:]
    assert (kept, at_lower_kept) == ("25% / 50% / 25%", "50% / 25% / 25%")
    assert (deleted, accepted, right, training) == ("0.75", "25% / 33%", "0% / 50%", "1.5 min")
    assert "0.9" in title
    # kept, fixed, drawn, by hand; relabelled, deleted; prompts a garment; the wait
    assert at_target[2][1:6] == ("2", "1 / 1 / 1 / 1", "1 / 1", "2.00 / 2.75", "500 ms")
    assert at_lower[2][2] == "2 / 0 / 1 / 1"
    # of both one is overlooked in twenty; of two images none is right
    assert at_target[2][11] == "5% / 100%"


def test_seconds_are_of_an_image() -> None:
    prices = Prices(key=0, point=0, click=0, look=1, by_hand=100)
    found = labelled(GENERATIONS[1], target_iou=0.9, prices=prices)
    by_hand, alone, flywheel = found.seconds_an_image()
    assert by_hand == 1 + 200
    # 2 + 1 and 2 + 6 prompts, each with a look and half a second's wait, and one garment by hand
    assert alone == pytest.approx(((1 + 3 * 1.5) + (1 + 8 * 1.5 + 100)) / 2)
    # two shown regions and a prompt; then a region of nothing and seven prompts
    assert flywheel == pytest.approx(((1 + 2 + 1.5) + (1 + 1 + 7 * 1.5 + 100)) / 2)


def test_a_generation_without_work_yet_has_rows_too() -> None:
    (_, models), (_, work), _ = all_tables([generation(0, works=())], Prices())
    assert models[1][1] == "0" and work[1][1] == "0" and work[1][4] == "- / -"


def test_the_markdown_is_a_table() -> None:
    for _, rows in all_tables(GENERATIONS, Prices()):
        cells = [line.strip("|").split("|") for line in markdown(rows).splitlines()]
        assert len(cells) == 5 and {len(row) for row in cells} == {len(rows[0])}


def test_the_figures_are_plotted(tmp_path: Path) -> None:
    plot(GENERATIONS, tmp_path / "new" / "flywheel.png", Prices())
    drawn = cv2.imread(str(tmp_path / "new" / "flywheel.png"))
    assert drawn is not None and drawn.shape[1] > drawn.shape[0] and drawn.std() > 10
