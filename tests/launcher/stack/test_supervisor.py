"""The supervisor on real processes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from launcher.errors import LauncherError
from launcher.stack.supervisor import Program, Supervisor, check_port, free_port

pytestmark = pytest.mark.services
ENVIRONMENT = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    running = Supervisor(tmp_path / "logs")
    yield running
    running.stop()


def program(tmp_path: Path, code: str) -> Program:
    return Program("child", [sys.executable, "-c", code], ENVIRONMENT, tmp_path)


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.glob("[0-9]*")]


SLEEPER = "import os, pathlib, time; pathlib.Path(str(os.getpid())).touch(); time.sleep(600)"


def test_a_child_that_dies_comes_back(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(program(tmp_path, SLEEPER))
    supervisor.wait_until(lambda: len(pids(tmp_path)) == 1, what="the child", timeout_s=20)
    os.kill(pids(tmp_path)[0], signal.SIGKILL)
    supervisor.wait_until(lambda: len(pids(tmp_path)) == 2, what="the second child", timeout_s=20)


def test_after_five_deaths_it_says_which_and_shows_the_end_of_its_log(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.stack.supervisor.FIRST_PAUSE_S", 0.01)
    supervisor.start(program(tmp_path, "print('the reason'); raise SystemExit(3)"))
    with pytest.raises(LauncherError, match=r"child died 5 times(.|\n)*the reason"):
        supervisor.wait_until(lambda: False, what="nothing", timeout_s=60)


def test_a_program_that_keeps_dying_is_parked_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.stack.supervisor.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("launcher.stack.supervisor.PARKED_S", 1.0)
    parked: list[str] = []
    supervisor = Supervisor(tmp_path / "logs", on_parked=parked.append)
    supervisor.start(Program("other", [sys.executable, "-c", SLEEPER], ENVIRONMENT, tmp_path))
    supervisor.start(program(tmp_path, "raise SystemExit(3)"))
    deadline = time.monotonic() + 60
    try:
        # After a while it is tried again.
        while len(parked) < 2:
            assert time.monotonic() < deadline
            supervisor.watch()
            time.sleep(0.01)
        assert parked[0] == "child died 5 times. It restarts in 0 minutes; its log says why."
        assert set(supervisor.processes()) == {"other"} and len(pids(tmp_path)) == 1
    finally:
        supervisor.stop()


def test_stopping_leaves_nothing_behind_not_even_what_ignores_it(tmp_path: Path, supervisor: Supervisor) -> None:
    stubborn = (
        "import os, pathlib, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]);" + SLEEPER
    )
    supervisor.start(program(tmp_path, stubborn))
    supervisor.wait_until(lambda: len(pids(tmp_path)) == 2, what="child and grandchild", timeout_s=20)
    started = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - started < 60
    alive = [pid for pid in pids(tmp_path) if psutil.pid_exists(pid)]
    assert all(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in alive)


def test_a_port_in_use_is_named_with_the_option_that_chooses_another() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LauncherError, match=rf"Port {port} for the backend is in use.*--port"):
            check_port(port, what="the backend", option="--port")
    check_port(free_port(), what="the backend", option="--port")
