"""A page keeps the text that is written by hand; a page without the mark is left as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.dev.generated_page import MARK, markdown_table, with_generated_part


def test_what_stands_above_the_mark_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\nBy hand.\n\n{MARK}\nold\n")
    table = markdown_table(("name", "value"), [("a", ""), ("b", "2")])
    assert table == "| name | value |\n| --- | --- |\n| a |  |\n| b | 2 |\n"
    assert with_generated_part(page, table) == f"# Title\n\nBy hand.\n\n{MARK}\n{table}"


def test_a_page_without_the_mark_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n")
    with pytest.raises(ValueError, match=r"page\.md lacks the line that ends the text written by hand"):
        with_generated_part(page, "")
