"""What each part of `make bench` measured last, with machine, date and commit: JSON, and the page that shows it."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import psutil
from pydantic import TypeAdapter

from backend.storage.atomic_files import write_atomically
from benchmarks.table import Row, cells
from launcher.dev.generated_page import DOCS, MARK, markdown_table, with_generated_part

PAGE = DOCS / "reference" / "benchmarks.md"
README = DOCS.parent / "README.md"
# The rows that the README shows: a part, and how their names begin.
TELLING = (("prelabel", "images/s, task list"), ("click", "click over HTTP"), ("dataset", "data set of"))
README_MARKS = ("<!-- From here on `make bench` writes. -->\n", "<!-- Up to here. -->\n")
COLUMNS = ("times better", "what", "Drape", "the other", "unit", "n")


@dataclass(frozen=True)
class Measured:
    """What a part measured.

    Attributes:
        date: the day, ISO 8601, in UTC.
        commit: short; with ` and changes` where the checkout had some, '' outside a checkout.
        seconds: how long it took.
    """

    part: str
    machine: str
    date: str
    commit: str
    seconds: int
    rows: tuple[Row, ...]


_JSON = TypeAdapter(tuple[Measured, ...])


def measured_now(part: str, rows: Sequence[Row], *, seconds: float) -> Measured:
    """Returns what was measured just now, on this machine."""
    return Measured(
        part, _machine(), datetime.now(timezone.utc).date().isoformat(), _commit(), round(seconds), tuple(rows)
    )


def read_record(page: Path) -> dict[str, Measured]:
    """Returns what is known of each part; nothing where no part was measured."""
    file = page.with_suffix(".json")
    return {one.part: one for one in _JSON.validate_json(file.read_bytes())} if file.exists() else {}


def add_to_record(measured: Measured, page: Path, *, order: Sequence[str]) -> None:
    """Replaces what was known of the part, and writes the page anew; the README too, where the page is that of docs.

    Args:
        order: names of all parts, as the page has them.
    """
    record = {**read_record(page), measured.part: measured}
    parts = [record[part] for part in order if part in record]
    write_atomically(page.with_suffix(".json"), _JSON.dump_json(tuple(parts), indent=1))
    if not page.exists():
        page.write_text(f"# Benchmarks\n\n{MARK}")
    page.write_text(with_generated_part(page, page_of(parts)))
    if page == PAGE:
        README.write_text(with_readme_table(README.read_text(), record))


def page_of(parts: Iterable[Measured]) -> str:
    """Returns the generated part of the page as Markdown."""
    return "\n".join(
        f"## {one.part}\n\n{one.date}, commit {one.commit or 'unknown'}, {one.seconds} s. {one.machine}.\n\n"
        f"{markdown_table(COLUMNS, map(cells, one.rows))}"
        for one in parts
    )


def with_readme_table(readme: str, record: Mapping[str, Measured]) -> str:
    """Returns the README with the telling rows between its marks.

    Raises:
        ValueError: the README has no such marks.
    """
    begin, end = README_MARKS
    chosen = [
        cells(row) for part, name in TELLING if part in record for row in record[part].rows if row.name.startswith(name)
    ]
    made, count = re.subn(
        f"{re.escape(begin)}.*{re.escape(end)}",
        lambda _: f"{begin}\n{markdown_table(COLUMNS, chosen)}\n{end}",
        readme,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"The README lacks the lines {begin.strip()} and {end.strip()}")
    return made


def _machine() -> str:
    try:
        model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        model = None
    processor = model[1] if model else platform.processor() or platform.machine()
    memory_gb = psutil.virtual_memory().total / 1e9
    return f"{processor}, {psutil.cpu_count()} cores, {memory_gb:.0f} GB, Python {platform.python_version()}"


def _commit() -> str:
    try:
        commit, changes = (
            subprocess.run(["git", *command], cwd=DOCS, capture_output=True, text=True, check=True).stdout
            for command in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    # What this command itself writes is no change of what it measures.
    written = {str(path.relative_to(DOCS.parent)) for path in (PAGE, PAGE.with_suffix(".json"), README)}
    others = [line for line in changes.splitlines() if line[3:] not in written]
    return f"{commit.strip()} and changes" if others else commit.strip()
