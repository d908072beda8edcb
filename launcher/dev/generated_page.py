"""Pages of docs/ whose text is written by hand down to a mark, and whose rest is made from the code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent.parent / "docs"
MARK = "<!-- Everything below this line is made from the code. -->\n"


def with_generated_part(page: Path, generated: str) -> str:
    """Returns the page with a new part below its mark.

    Raises:
        ValueError: the page has no mark.
    """
    written, mark, _ = page.read_text().partition(MARK)
    if not mark:
        raise ValueError(f"{page} lacks the line that ends the text written by hand: {MARK}")
    return f"{written}{mark}\n{generated}"


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
