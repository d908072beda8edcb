"""What `drape up` keeps to the account that runs it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.settings import Settings
from label_studio_config.palette_xml import palette
from launcher.errors import LauncherError
from launcher.stack.stack import Options, Stack, child_environment, warn_of_contents
from launcher.stack.supervisor import Program, Supervisor
from tests.training.data_in.drawn import save
from tests.training.data_in.sets import roboflow


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account may read; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def read_as_another(path: Path) -> bool:
    return (
        subprocess.run(["cat", path], user="nobody", group="nogroup", extra_groups=[], capture_output=True).returncode
        == 0
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")
def test_another_account_reads_nothing_in_the_data_directory(open_folder: Path) -> None:
    data = open_folder / "var"
    data.mkdir(mode=0o755)
    database = data / "label_studio.sqlite3"
    database.write_text("tokens")
    assert read_as_another(database)
    Stack(Settings(data_dir=data), Options())
    assert not read_as_another(database)


def test_what_programs_write_is_private_from_the_first_byte(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path / "logs")
    code = "import pathlib; pathlib.Path('dump.rdb').touch(); pathlib.Path('folder').mkdir()"
    supervisor.start(Program("child", [sys.executable, "-c", code], {}, tmp_path))
    try:
        supervisor.wait_until(lambda: (tmp_path / "folder").is_dir(), what="the child", timeout_s=20)
    finally:
        supervisor.stop()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("dump.rdb", "folder")]
    assert modes == [0o600, 0o700]


def test_programs_know_the_certificates_and_proxies_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"SSL_CERT_FILE": "/etc/own.pem", "https_proxy": "http://proxy:3128", "TMPDIR": str(tmp_path)}
    for name, value in {**given, "NO_PROXY": "inner.example", "UNRELATED": "x"}.items():
        monkeypatch.setenv(name, value)
    environment = child_environment(Settings(data_dir=tmp_path))
    assert given.items() <= environment.items() and "UNRELATED" not in environment
    # Label Studio and the backend find each other on this machine, not behind the proxy.
    assert environment["NO_PROXY"] == environment["no_proxy"] == "inner.example,127.0.0.1,localhost"


def test_a_folder_with_annotations_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain, annotated = tmp_path / "plain", tmp_path / "annotated"
    save(plain / "x.jpg", 1)
    warn_of_contents(plain, 7)
    assert not caplog.text
    save(plain / "y.tif", 1)
    warn_of_contents(plain, 7)
    assert "Browsers do not show images of these types: y.tif. Convert them" in caplog.text
    roboflow(annotated)
    warn_of_contents(annotated, 7)
    assert f"{annotated} holds a data set (coco): its images come in without annotations" in caplog.text
    assert f"`drape import --project 7 {annotated}` adds them" in caplog.text


def test_the_demo_keeps_its_own_labels(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"PALETTE \(--palette\) need IMAGES"):
        Stack(Settings(data_dir=tmp_path), Options(label_config=palette(("saree",))))
