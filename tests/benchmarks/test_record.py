from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import PARTS
from benchmarks.record import (
    PAGE,
    README,
    TELLING,
    add_to_record,
    measured_now,
    page_of,
    read_record,
    with_readme_table,
)
from benchmarks.table import Row
from launcher.dev.generated_page import MARK


def test_a_part_that_is_measured_again_replaces_its_own_figures_alone(tmp_path: Path) -> None:
    page = tmp_path / "bench.md"
    for part, ratio in (("late", 1.0), ("early", 2.0), ("late", 3.0)):
        row = Row(f"{part} / plain", 1, ratio, ratio, "ms", 5, 1.5, 2 * ratio)
        add_to_record(measured_now(part, [row], seconds=0.4), page, order=["early", "late"])
    assert {part: one.rows[0].ratio for part, one in read_record(page).items()} == {"early": 2.0, "late": 3.0}
    text = page.read_text()
    assert text.index("## early") < text.index("## late")
    assert text.count("| late / plain |") == 1
    assert "| 3.00 | late / plain | 1 (95th 1.5) | 3 (95th 6) | ms | 5 |" in text


def test_what_is_written_above_the_mark_stays(tmp_path: Path) -> None:
    page = tmp_path / "bench.md"
    page.write_text(f"# By hand\n\n{MARK}\nold\n")
    add_to_record(measured_now("one", [], seconds=1), page, order=["one"])
    assert page.read_text().startswith(f"# By hand\n\n{MARK}")
    assert "old" not in page.read_text()


def test_the_docs_and_the_readme_show_what_is_kept() -> None:
    record = read_record(PAGE)
    assert set(record) <= set(PARTS)
    assert {part for part, _ in TELLING} <= set(record)
    assert PAGE.read_text().endswith(page_of(record.values()))
    assert with_readme_table(README.read_text(), record) == README.read_text()


def test_a_readme_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        with_readme_table("# Drape\n", {})
