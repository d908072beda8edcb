"""How the long benchmarks are run as commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from backend.errors import DrapeError
from launcher.errors import LauncherError
from launcher.stack.stack import StopRequested, stop_signals


@contextmanager
def exit_on_known_errors(console: Console) -> Iterator[None]:
    """Exits with 1 when the command is stopped or fails with a known error: prints one line, not a traceback."""
    try:
        with stop_signals():
            yield
    except (DrapeError, LauncherError) as e:
        console.print(str(e), style="red", markup=False)
        raise typer.Exit(1) from e
    except StopRequested as e:
        console.print("Stopped.")
        raise typer.Exit(1) from e
