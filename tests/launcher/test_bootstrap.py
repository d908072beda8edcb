from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher import bootstrap

# what pip or venv said, what the user reads
SAID = [
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "disk is full"),
    ("error: command 'gcc' failed: No such file or directory", "no compiler"),
    ("fatal error: Python.h: No such file or directory", "no Python headers"),
    ("WARNING: Retrying after connection broken by 'NewConnectionError(...)'", "download failed"),
    ("ERROR: No matching distribution found for torch==2.15.0", "no version of a package"),
    ("Error: Command '[...]' returned: No module named 'ensurepip'", "venv module"),
    ("ERROR: something new", "ERROR: something new"),
]


@pytest.mark.parametrize(("output", "line"), SAID)
def test_a_failure_is_one_line_with_its_remedy(output: str, line: str) -> None:
    told = bootstrap.remedy(output)
    assert line in told
    assert "\n" not in told


def test_a_python_that_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "python_version", lambda path: (3, 8))
    with pytest.raises(bootstrap.InstallError, match=r"needs Python 3.10 to 3.13; found 3.8"):
        bootstrap.find_python()


def test_the_running_python_is_taken_where_it_fits() -> None:
    assert bootstrap.find_python()[1] == sys.version_info[:2]


def test_a_failing_command_leaves_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(bootstrap.InstallError, match="disk is full"):
        bootstrap.run([sys.executable, "-c", "print('No space left on device'); raise SystemExit(1)"], str(log), "x")
    assert "No space left" in log.read_text()


def test_an_environment_that_is_as_it_should_be_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    (tmp_path / "requirements.txt").write_text("six\n")
    (tmp_path / ".venv").mkdir()
    wanted = bootstrap.fingerprint(["requirements.txt"], (3, 11))
    (tmp_path / ".venv" / "drape-built").write_text(wanted)
    monkeypatch.setattr(bootstrap, "run", lambda *args: pytest.fail("nothing is to be run"))
    bootstrap.build(".venv", ["requirements.txt"], sys.executable, (3, 11))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    (tmp_path / ".venv" / "drape-built").write_text("another")
    with pytest.raises(bootstrap.InstallError, match="GB free"):
        bootstrap.build(".venv", ["requirements.txt"], sys.executable, (3, 11))
