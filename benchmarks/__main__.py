"""`make bench [ONLY=click]`: measures every part or one, prints the table, and writes docs' page."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from backend.errors import DrapeError
from benchmarks.record import PAGE, add_to_record, measured_now
from benchmarks.table import Row, table

# Name of a part, its module: one with `measure() -> list[Row]`. It may raise a DrapeError where what it needs is not
# here. Imported when it runs, so that a part needs only its own libraries.
PARTS = {
    "click": "benchmarks.parts.click",
    "sam3": "benchmarks.parts.sam3",
    "polygon": "benchmarks.parts.polygon",
    "brush": "benchmarks.parts.brush",
    "quality": "benchmarks.parts.quality",
    "prelabel": "benchmarks.parts.prelabel",
    "dataset": "benchmarks.parts.dataset",
    "judging": "benchmarks.parts.judging",
    "training": "benchmarks.parts.training",
    "large_import": "benchmarks.parts.long.large_import",
    "next_label": "benchmarks.parts.long.next_label",
    "promotion": "benchmarks.parts.long.promotion",
    "ten_thousand": "benchmarks.parts.long.ten_thousand",
}
# Up to half an hour each: only when they are asked for.
LONG = {"large_import", "next_label", "promotion", "ten_thousand"}


def main(
    only: Annotated[str, typer.Option(help=f"One part alone: {', '.join(PARTS)}.")] = "",
    into: Annotated[
        Path, typer.Option(help="The page that is written; its figures are kept beside it, as JSON.")
    ] = PAGE,
) -> None:
    """Measures ours against the other way, side by side in one run. Best alone on the machine."""
    if only and only not in PARTS:
        raise typer.BadParameter(f"'{only}' is no part. There are: {', '.join(PARTS)}.", param_hint="--only")
    chosen = [only] if only else [name for name in PARTS if name not in LONG]
    console = Console(width=None if sys.stdout.isatty() else 120)
    rows: list[Row] = []
    for number, name in enumerate(chosen, start=1):
        console.print(f"{number} of {len(chosen)}, {name} …")
        started = time.monotonic()
        try:
            measured = importlib.import_module(PARTS[name]).measure()
        except DrapeError as e:
            console.print(f"{name} is left out: {e}")
            continue
        seconds = time.monotonic() - started
        console.print(f"{name}: {seconds:.0f} s")
        # After every part: what is measured stays, though a later part is stopped.
        add_to_record(measured_now(name, measured, seconds=seconds), into, order=list(PARTS))
        rows += measured
    if not rows:
        raise typer.Exit(1)
    console.print(table(rows))
    console.print(f"Written to {into}")


if __name__ == "__main__":
    typer.run(main)
