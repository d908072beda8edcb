"""What commands print of names that others chose: text, in which neither a terminal nor Rich finds a command."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from backend.registry.scores import Compared, LabelScores, Scores
from launcher.commands.score_table import show_scores
from launcher.commands.terminal import Terminal

HOSTILE = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202esaree"
# Rich would fail at the first, and make a link of the second.
MARKUP = ("[/]", "[link=https://elsewhere.example]saree[/link]")


def printed(*said: object, colours: bool = False) -> str:
    stream = io.StringIO()
    terminal = Terminal(file=stream, width=200, force_terminal=colours, color_system="standard" if colours else None)
    for one in said:
        terminal.print(one, markup=False)
    return stream.getvalue()


def test_a_terminal_obeys_nothing_of_a_name() -> None:
    table = Table("label")
    table.add_row(Text(HOSTILE))
    said = printed(HOSTILE, table)
    assert [one for one in said if not one.isprintable() and one != "\n"] == []
    assert "\\u001b]0;mine" in said and "saree" in said


def test_rich_still_has_its_colours() -> None:
    assert "\x1b[31m" in printed(Text("failed", style="red"), colours=True)


def test_labels_are_no_markup() -> None:
    stream = io.StringIO()
    one = LabelScores("saree", 4, *[0.5] * 10)
    labels = tuple(replace(one, label=label) for label in (*MARKUP, HOSTILE))
    own = Scores(9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 12.3, labels)
    show_scores(Compared(own, None), Terminal(file=stream, width=200))
    assert all(label in stream.getvalue() for label in MARKUP)
    assert "\x1b" not in stream.getvalue()
