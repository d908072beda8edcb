"""A real PostgreSQL for the tests, and questions to it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.stack.supervisor import free_port

PASSWORD = "wörd/@:"


@contextmanager
def server() -> Iterator[str]:
    """Address of a PostgreSQL, without password and database; without one, tests are skipped, and fail under CI."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), *[Path(one).parent for one in [shutil.which("initdb")] if one]]
    if not found or not shutil.which("pg_dump") or not shutil.which("psql"):
        if os.environ.get("CI") == "true":
            pytest.fail("There is no PostgreSQL, and under CI this must run.")
        pytest.skip("There is no PostgreSQL on this machine (Debian: apt install postgresql).")
    # Not below pytest's own folder, into which nobody else may look: it does not run as root.
    folder, port = Path(tempfile.mkdtemp(prefix="drape-postgres-")), free_port()
    (folder / "word").write_text(PASSWORD)
    user = None
    if os.geteuid() == 0:
        user = next(one for one in ("postgres", "nobody") if one in {entry.pw_name for entry in pwd.getpwall()})
        for one in (folder, folder / "word"):
            shutil.chown(one, user)

    def tool(name: str, *arguments: str) -> None:
        subprocess.run(
            [str(found[0] / name), "-D", str(folder / "data"), *arguments],
            user=user,
            cwd=folder,
            check=True,
            env={"PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            timeout=120,
        )

    tool(
        "initdb",
        "--username=label_studio",
        "--auth=scram-sha-256",
        f"--pwfile={folder / 'word'}",
        "--no-sync",
        "--encoding=UTF8",
        "--locale=C",
    )
    tool("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-p {port} -h 127.0.0.1 -k {folder}", "start")
    try:
        yield f"postgresql://label_studio@127.0.0.1:{port}"
    finally:
        tool("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def query(address: str, text: str) -> str:
    """What `psql` answers."""
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", address, "-c", text],
        check=True,
        env={"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()
