from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.storage.atomic_files import delete_leftovers, is_incomplete
from tests.conftest import ROOT

# No file may be larger: what a full disk looks like to whoever writes.
FULL = """
import resource, signal, sys
from pathlib import Path
from backend.storage.atomic_files import copy_atomically, write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Path(sys.argv[1])
try:
    {what}
except OSError as e:
    print(e.strerror)
"""
WAYS = [
    "write_atomically(folder / 'kept', b'x' * 5000)",
    "write_atomically(folder / 'kept', b'x' * 5000, durable=True)",
    "copy_atomically(folder / 'large', folder / 'kept')",
]


@pytest.mark.parametrize("what", WAYS)
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path, what: str) -> None:
    (tmp_path / "kept").write_text("before")
    (tmp_path / "large").write_bytes(b"y" * 5000)
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(what=what), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "File too large"
    assert (tmp_path / "kept").read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"kept", "large"}


# Begins to write a file and a folder, says so, and waits to be killed.
WRITES = """
import sys, time
from pathlib import Path
from backend.storage.atomic_files import replacing, staging_folder
folder = Path(sys.argv[1])
with replacing(folder / "file") as file, staging_folder(folder / "deep" / "folder") as staging:
    file.write_text("half")
    (staging / "inside").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_left_is_deleted_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("somebody's")
    (tmp_path / "file").write_text("before")
    with subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE) as writing:
        assert writing.stdout is not None and writing.stdout.readline() == b"writing\n"
        incomplete = [path for path in tmp_path.rglob("*") if is_incomplete(path)]
        delete_leftovers(tmp_path)
        assert len(incomplete) == 2 and all(path.exists() for path in incomplete)
        writing.kill()
    assert all(path.exists() for path in incomplete)
    delete_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".hidden", "deep", "file"]
    assert (tmp_path / "file").read_text() == "before"
