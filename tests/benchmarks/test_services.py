"""Programs of a long run are restarted while it watches them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.services import watched
from launcher.stack.supervisor import Program, Supervisor
from tests.support import wait_for


def test_a_program_that_ends_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launcher.stack.supervisor.FIRST_PAUSE_S", 0.01)
    starts = tmp_path / "starts"
    supervisor = Supervisor(tmp_path / "logs", deaths_allowed=10**9, longest_pause_s=0.01)
    code = f"open({str(starts)!r}, 'a').write('started\\n')"
    try:
        supervisor.start(Program("short", [sys.executable, "-c", code], {}, tmp_path))
        with watched(supervisor):
            wait_for(lambda: starts.is_file() and len(starts.read_text().splitlines()) >= 3)
    finally:
        supervisor.stop()
