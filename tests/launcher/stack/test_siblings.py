"""Programs that run as one: whatever ends one of them ends all."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT

# Ends at SIGTERM, as a worker does.
CHILD = "import pathlib, os, time; pathlib.Path(r'{path}').write_text(str(os.getpid())); time.sleep(600)"
Running = tuple[subprocess.Popen[bytes], list[psutil.Process]]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """The process that runs two programs, and these two."""
    notes = [tmp_path / name for name in ("first", "second")]
    commands = [[sys.executable, "-c", CHILD.format(path=note)] for note in notes]
    script = f"from launcher.stack.siblings import run_all; run_all({commands!r})"
    with (tmp_path / "log").open("wb") as log:
        parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=log)
    while not all(note.exists() and note.read_text() for note in notes):
        assert parent.poll() is None
        time.sleep(0.05)
    children = [psutil.Process(int(note.read_text())) for note in notes]
    yield parent, children
    parent.kill()
    parent.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_they_stop_together(running: Running, number: signal.Signals) -> None:
    parent, children = running
    parent.send_signal(number)
    assert parent.wait(60) == 0
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_one_that_dies_ends_all(running: Running, tmp_path: Path) -> None:
    parent, children = running
    children[1].kill()
    assert parent.wait(60) != 0
    said = (tmp_path / "log").read_text()
    assert "ended with an error" in said and "second" in said
    assert not psutil.wait_procs(children, timeout=60)[1]
