from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
