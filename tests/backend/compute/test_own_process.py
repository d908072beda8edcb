"""What runs in a process of its own: its result is awaited, its error arrives, and it ends with the call."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from backend.compute.own_process import run_in_own_process
from backend.errors import DatasetError, ModelError


def write_pid(path: Path) -> None:
    path.write_text(str(os.getpid()))


def fail(message: str) -> None:
    raise DatasetError(message)


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_parent_and_wait(path: Path) -> None:
    write_pid(path)
    os.kill(os.getppid(), signal.SIGINT)
    signal.pause()


def test_runs_to_its_end_in_another_process(tmp_path: Path) -> None:
    run_in_own_process(write_pid, tmp_path / "pid")
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_an_error_arrives_with_its_words() -> None:
    with pytest.raises(DatasetError, match="no images"):
        run_in_own_process(fail, "no images")


def test_a_killed_process_is_told_of() -> None:
    with pytest.raises(ModelError, match="memory"):
        run_in_own_process(kill_itself)


def test_a_call_that_is_broken_off_ends_the_process(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_in_own_process(interrupt_parent_and_wait, tmp_path / "pid")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
