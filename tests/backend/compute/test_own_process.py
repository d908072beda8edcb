"""What runs in a process of its own: its result is awaited, its error arrives, and it ends with the call."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
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


def test_runs_to_its_end_in_another_process(tmp_path: Path) -> None:
    run_in_own_process(write_pid, tmp_path / "pid")
    assert int((tmp_path / "pid").read_text()) != os.getpid()


def test_an_error_arrives_with_its_words() -> None:
    with pytest.raises(DatasetError, match="no images"):
        run_in_own_process(fail, "no images")


def test_a_killed_process_is_told_of() -> None:
    with pytest.raises(ModelError, match="memory"):
        run_in_own_process(kill_itself)


def fail_oddly() -> None:
    raise OddError(number=7)


def wait_below(path: Path) -> None:
    run_in_own_process(write_pid_and_kill_parent, path)


def write_pid_and_kill_parent(path: Path) -> None:
    write_pid(path)
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def write_pid_and_wait(path: Path) -> None:
    write_pid(path)
    signal.pause()


class OddError(Exception):
    """Cannot be read again once it is pickled."""

    def __init__(self, *, number: int) -> None:
        super().__init__(f"number {number}")


def test_an_error_that_cannot_be_pickled_arrives_in_words() -> None:
    with pytest.raises(ModelError, match="OddError: number 7"):
        run_in_own_process(fail_oddly)


def has_ended(pid_file: Path) -> bool:
    status = Path(f"/proc/{pid_file.read_text()}/stat")
    # Ended, or waits for nothing but that somebody asks how it ended.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Not from `tests.conftest`: each process here would import what all tests need.
ROOT = Path(__file__).parents[3]

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


@linux
def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ended early"):
        run_in_own_process(wait_below, tmp_path / "pid")
    wait_for(lambda: has_ended(tmp_path / "pid"))


@linux
def test_a_call_that_is_broken_off_ends_the_process(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from backend.compute.own_process import run_in_own_process
from tests.backend.compute.test_own_process import write_pid_and_wait
if __name__ == "__main__":
    run_in_own_process(write_pid_and_wait, Path({str(tmp_path / "pid")!r}))
"""
    program = tmp_path / "program.py"
    program.write_text(code)
    # Not this process: an interrupt here would break off whatever else it does.
    caller = subprocess.Popen([sys.executable, program], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_for(lambda: bool((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()))
        caller.send_signal(signal.SIGINT)
        assert caller.wait(30) != 0
    finally:
        caller.kill()
        caller.wait()
    assert has_ended(tmp_path / "pid")
