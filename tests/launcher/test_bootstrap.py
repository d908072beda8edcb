from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest

from backend.compute import devices
from launcher import bootstrap
from launcher.stack.supervisor import free_port

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


class Index(ThreadingHTTPServer):
    """A package index with torch and torchvision for the processor, as small as packages can be."""

    def __init__(self, folder: Path, *versions: str) -> None:
        for name, version in zip(("torch", "torchvision"), versions, strict=False):
            (folder / name).mkdir(parents=True)
            write_wheel(folder / name, name, version)
        super().__init__(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def write_wheel(folder: Path, name: str, version: str) -> Path:
    """A package that is its own version number."""
    wheel, facts = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with ZipFile(wheel, "w") as file:
        for path, content in contents.items():
            file.writestr(path, content)
        file.writestr(f"{facts}/RECORD", "".join(f"{path},,\n" for path in (*contents, f"{facts}/RECORD")))
    return wheel


@contextmanager
def serving(index: Index) -> Iterator[str]:
    thread = Thread(target=index.serve_forever, daemon=True)
    thread.start()
    try:
        yield index.url
    finally:
        index.shutdown()
        thread.join()
        index.server_close()


@pytest.fixture
def torch_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that needs nothing but torch and torchvision, on a machine without a GPU."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "requirements.txt").write_text(
        '# Both.\ntorch==2.15.0; python_version >= "3"\ntorch==2.14.1; python_version < "3"\ntorchvision==0.29.2\n'
    )
    monkeypatch.setattr(bootstrap, "ROOT", str(root))
    monkeypatch.setattr(bootstrap, "NVIDIA_FILES", ())
    # Only the indexes that a test names are asked: what this machine has configured may hold torch, too.
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    return root


def installed_torch(root: Path) -> list[str]:
    bootstrap.build(".venv", ["requirements.txt"], sys.executable, sys.version_info[:2])
    said = "import torch, torchvision; print(torch.__version__, torchvision.__version__)"
    return subprocess.check_output([root / ".venv" / "bin" / "python", "-c", said], text=True).split()


@pytest.mark.slow
def test_without_a_gpu_torch_comes_from_the_index_of_builds_without_cuda(
    torch_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Index(tmp_path / "usual", "2.15.0", "0.29.2")
    with serving(usual) as url, serving(Index(tmp_path / "cpu", "2.15.0+cpu", "0.29.2+cpu")) as cpu_url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("CPU_INDEX", cpu_url)
        assert installed_torch(torch_project) == ["2.15.0+cpu", "0.29.2+cpu"]


@pytest.mark.slow
def test_what_that_index_does_not_have_comes_from_the_usual_one(
    torch_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = Index(tmp_path / "usual", "2.15.0", "0.29.2")
    with serving(usual) as url, serving(Index(tmp_path / "cpu", "2.14.0+cpu")) as cpu_url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("CPU_INDEX", cpu_url)
        assert installed_torch(torch_project) == ["2.15.0", "0.29.2"]
    assert f"torch does not come from {cpu_url}, but from the usual index" in capsys.readouterr().out


@pytest.mark.slow
def test_torch_without_cuda_or_without_torchvision_does_not_stay(
    torch_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip would leave both as they are."""
    usual = Index(tmp_path / "usual", "2.15.0", "0.29.2")
    with serving(usual) as url, serving(Index(tmp_path / "cpu", "2.15.0+cpu", "0.29.2+cpu")) as cpu_url:
        monkeypatch.setenv("PIP_INDEX_URL", url)
        monkeypatch.setenv("CPU_INDEX", cpu_url)
        assert installed_torch(torch_project) == ["2.15.0+cpu", "0.29.2+cpu"]
        # An installation that stopped between the two, and an index that is away by now.
        pip = [str(torch_project / ".venv" / "bin" / "python"), "-m", "pip"]
        subprocess.run([*pip, "uninstall", "-qy", "torchvision"], check=True)
        monkeypatch.setenv("CPU_INDEX", f"http://127.0.0.1:{free_port()}")
        assert installed_torch(torch_project) == ["2.15.0", "0.29.2"]
        # A GPU that came later.
        subprocess.run([*pip, "install", "-q", "--index-url", cpu_url, "torch==2.15.0+cpu", "torchvision==0.29.2+cpu"])
        (tmp_path / "driver").touch()
        monkeypatch.setattr(bootstrap, "NVIDIA_FILES", (str(tmp_path / "driver"),))
        assert installed_torch(torch_project) == ["2.15.0", "0.29.2"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:{port}/whl/cpu", "https://host:port/whl", "nothing"])
def test_an_index_that_does_not_answer_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], address: str
) -> None:
    index = address.format(port=free_port())
    monkeypatch.setattr(bootstrap, "NVIDIA_FILES", ())
    monkeypatch.setenv("CPU_INDEX", index)
    assert bootstrap.cpu_index() == ""
    told = capsys.readouterr().out
    assert told.startswith(f"torch comes with CUDA, 4.5 GB more: {index}") and told.count("\n") == 1


def test_a_gpu_is_known_by_the_same_files_as_in_the_backend() -> None:
    assert bootstrap.NVIDIA_FILES == devices.NVIDIA_FILES


@pytest.mark.parametrize(("nvidia", "index"), [(True, "http://127.0.0.1:1"), (False, "")])
def test_with_a_gpu_or_no_index_torch_comes_with_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], nvidia: bool, index: str
) -> None:
    (tmp_path / "version").touch()
    monkeypatch.setattr(bootstrap, "NVIDIA_FILES", (str(tmp_path / "version"),) if nvidia else ())
    monkeypatch.setenv("CPU_INDEX", index)
    assert (bootstrap.cpu_index(), capsys.readouterr().out) == ("", "")


def test_it_parses_under_pythons_that_are_too_old() -> None:
    ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 5))
