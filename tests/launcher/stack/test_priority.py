from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.stack.priority import ATTEMPTS, AUTOGROUP, TRAINING, WORKER, lower_priority

CODE = """
import os, sys
from launcher.stack.priority import AUTOGROUP, lower_priority
lower_priority(int(sys.argv[1]))
print(os.getpriority(os.PRIO_PROCESS, 0), AUTOGROUP.read_text() if AUTOGROUP.exists() else "")
"""


def weight(session: list[str]) -> str:
    """How much a session gives way; empty where the machine weighs none, or not this one."""
    return session[-1] if session else ""


def here() -> str:
    return weight(AUTOGROUP.read_text().split() if AUTOGROUP.exists() else [])


def given_way(niceness: int, *, in_own_session: bool) -> tuple[int, str]:
    command = [sys.executable, "-c", CODE, str(niceness)]
    done = subprocess.run(command, start_new_session=in_own_session, capture_output=True, text=True, check=True)
    own, *session = done.stdout.split()
    return int(own), weight(session)


@pytest.mark.parametrize("niceness", [WORKER, TRAINING])
def test_it_gives_way_to_other_processes_and_to_other_sessions(niceness: int) -> None:
    own, session = given_way(niceness, in_own_session=True)
    assert own == min(os.getpriority(os.PRIO_PROCESS, 0) + niceness, 19)
    assert session in (str(niceness), "")
    assert session or not here()


def test_a_session_that_others_share_stays_as_it_is() -> None:
    own, session = given_way(WORKER, in_own_session=False)
    assert own == min(os.getpriority(os.PRIO_PROCESS, 0) + WORKER, 19)
    assert session == here()


@pytest.mark.parametrize(("refused", "given"), [(2, True), (ATTEMPTS, False)])
def test_it_asks_again_where_many_give_way_at_once_and_says_if_that_is_no_use(
    refused: int, given: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[str] = []

    def write(_: Path, text: str) -> None:
        written.append(text)
        if len(written) <= refused:
            raise OSError(errno.EAGAIN, "as Linux says it")

    monkeypatch.setattr("launcher.stack.priority.PAUSE_S", 0)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(Path, "write_text", write)
    lower_priority(TRAINING)
    assert set(written) == {str(TRAINING)} and len(written) == min(refused + 1, ATTEMPTS)
    assert ("too many sessions" in caplog.text) != given
