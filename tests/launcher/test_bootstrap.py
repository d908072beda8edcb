from __future__ import annotations

import ast
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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with an environment that is as it should be: its Python and pip, and the stamp."""
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    (tmp_path / "requirements.txt").write_text("six\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / "bin" / "pip").touch()
    wanted = bootstrap.fingerprint(["requirements.txt"], sys.version_info[:2])
    (tmp_path / ".venv" / "drape-built").write_text(wanted)
    return tmp_path


def commands_of_a_build(monkeypatch: pytest.MonkeyPatch, *, version: tuple[int, int]) -> list[str]:
    """What a build runs, in words: `venv`, `pip`."""
    ran: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "run", lambda command, log, title: ran.append(command))
    bootstrap.build(".venv", ["requirements.txt"], sys.executable, version)
    return [command[2] for command in ran]


@pytest.mark.parametrize("version", [sys.version_info[:2], (3, 12)])
def test_an_environment_that_is_as_it_should_be_is_left_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch, version: tuple[int, int]
) -> None:
    # Another Python that fits may stand first on the PATH today.
    assert commands_of_a_build(monkeypatch, version=version) == []


def test_changed_requirements_are_installed_into_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "requirements.txt").write_text("six==1.17.0\n")
    assert commands_of_a_build(monkeypatch, version=(3, 12)) == ["pip"]
    assert commands_of_a_build(monkeypatch, version=(3, 12)) == []


def test_an_interrupted_installation_is_repeated(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".venv" / "drape-built").unlink()
    assert commands_of_a_build(monkeypatch, version=(3, 12)) == ["pip"]


@pytest.mark.parametrize("lost", ["pip", "python"])
def test_an_environment_that_lost_its_python_or_its_pip_is_made_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    (project / ".venv" / "bin" / lost).unlink()
    assert commands_of_a_build(monkeypatch, version=sys.version_info[:2]) == ["venv", "pip"]


def test_a_disk_without_room_is_said_before_anything_is_fetched(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".venv" / "bin" / "pip").unlink()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    with pytest.raises(bootstrap.InstallError, match=r"needs about 9.0 GB .* 0.0 GB free"):
        bootstrap.build(".venv", ["requirements.txt"], sys.executable, (3, 11))


def test_it_parses_under_pythons_that_are_too_old() -> None:
    ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 5))
