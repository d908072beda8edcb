"""`drape backup` and `drape restore` where a stopped `drape up` has left its data: a real Redis, real weights."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import IO

import pytest
from filelock import FileLock
from redis import Redis
from typer.testing import CliRunner, Result

from backend.queues.queues import Queues
from backend.registry.records import read_text
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.status.audits import Audits
from launcher.backup.restore import restore as restore_backup
from launcher.backup.sources import own_redis, sources_of
from launcher.cli import app
from launcher.errors import LauncherError
from launcher.stack.label_studio_server import EMAIL
from launcher.stack.secret_files import Secrets
from tests.conftest import ROOT, STUDIO_VENV
from tests.support import add_starter

pytestmark = pytest.mark.services

# Sentences name files, however long their folder is called.
WIDE = {"COLUMNS": "500"}


def drape(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments], env=WIDE)


def back_up(data: Path, file: Path) -> Result:
    return drape("backup", file, "--data-dir", data, "--studio-venv", STUDIO_VENV)


def restore(data: Path, file: Path, *more: str) -> Result:
    return drape("restore", file, "--data-dir", data, "--studio-venv", STUDIO_VENV, *more)


def fill(data: Path, starter: Path, *, word: str) -> None:
    """What a `drape up` leaves: a database, an upload, two versions with a champion, two jobs and an audit."""
    Secrets(data / "secrets").put("label-studio-password", f"password-{word}")
    studio = data / "label-studio"
    (studio / "media" / "upload" / "1").mkdir(parents=True)
    (studio / "media" / "upload" / "1" / f"{word}.jpg").write_bytes(word.encode() * 1000)
    with closing(sqlite3.connect(studio / "label_studio.sqlite3")) as database, database:
        database.execute("CREATE TABLE htx_user (email TEXT, password TEXT)")
        database.execute("INSERT INTO htx_user VALUES (?, 'hash'), ('other@example.com', 'theirs')", (EMAIL,))
        database.execute("CREATE TABLE task (word TEXT)")
        database.execute("INSERT INTO task VALUES (?)", (word,))
    registry = Registry(data / "models")
    for parent in (None, "first"):
        version = add_starter(registry, 1, starter, parent=parent, beside={"report.html": word})
    registry.promote(1, version.name)
    (data / "made").mkdir()
    (data / "made" / "openvino.xml").write_text("of this machine")
    version.files.put_folder("prepared", data / "made")
    (data / "approvals").mkdir()
    (data / "approvals" / "1.json").write_text(word)
    with own_redis(data / "redis") as redis:
        queues = Queues(Settings(redis_url=address_of(redis)))
        queues.enqueue_training(1, reason=word)
        queues.encoding(1).add([1, 2])
        Audits(queues.redis).remember(1, version=word, images=1, regions=2, wrong=0)
        queues.redis.close()


def address_of(redis: Redis) -> str:
    given = redis.connection_pool.connection_kwargs
    return f"redis://:{given['password']}@127.0.0.1:{given['port']}/0"


def words(data: Path) -> dict[str, object]:
    """What there is, wherever it lies."""
    registry, studio = Registry(data / "models"), data / "label-studio"
    champion = registry.champion(1)
    with closing(sqlite3.connect(studio / "label_studio.sqlite3")) as database:
        (task,) = database.execute("SELECT word FROM task").fetchone()
    with own_redis(data / "redis") as redis:
        queues = Queues(Settings(redis_url=address_of(redis)))
        found = {
            "task": task,
            "uploads": [path.stem for path in sorted((studio / "media").rglob("*.jpg"))],
            "champion": champion and (champion.number, read_text(champion, "report.html")),
            "versions": len(registry.versions(1)),
            "training": queues.has_training(1),
            "audit": Audits(queues.redis).all()["1"]["version"],
            "counted": (data / "approvals").exists(),
        }
        queues.redis.close()
    assert not [path for path in data.rglob(".*.restored")] + [path for path in data.rglob(".*.before")]
    return found


KEPT = {
    "task": "kept",
    "uploads": ["kept"],
    "champion": (2, "kept"),
    "versions": 2,
    "training": True,
    "audit": "kept",
    "counted": False,
}


def test_what_was_kept_comes_back_elsewhere_and_in_place(tmp_path: Path, starter: Path) -> None:
    file = tmp_path / "kept.tar.gz"
    fill(tmp_path / "one", starter, word="kept")
    done = back_up(tmp_path / "one", file)
    assert done.exit_code == 0 and "models 2" not in done.output and "in 7 files" in done.output, done.output
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert back_up(tmp_path / "one", file).exit_code == 1

    # On a machine that has nothing.
    done = restore(tmp_path / "new", file)
    assert done.exit_code == 0 and "2 model versions are complete, 2 jobs are waiting" in done.output, done.output
    assert words(tmp_path / "new") == KEPT
    # Secrets stay where they are; the account gets this machine's.
    assert (tmp_path / "new" / "secrets" / "label-studio-password").read_text() not in ("password-kept\n", "\n")
    with closing(sqlite3.connect(tmp_path / "new" / "label-studio" / "label_studio.sqlite3")) as database:
        hashes = dict(database.execute("SELECT email, password FROM htx_user").fetchall())
    assert hashes["other@example.com"] == "theirs" and hashes[EMAIL].startswith("pbkdf2_sha256$")
    # Made anew, for the machine that it runs on.
    assert not list((tmp_path / "new").rglob("prepared"))

    # Where there is something.
    fill(tmp_path / "other", starter, word="other")
    (tmp_path / "other" / "label-studio" / "label_studio.sqlite3-journal").write_bytes(b"of the old one")
    other = KEPT | dict.fromkeys(("task", "audit"), "other")
    other |= {"uploads": ["other"], "champion": (2, "other"), "counted": True}
    done = restore(tmp_path / "other", file)
    assert done.exit_code == 1
    said = str(done.exception)
    assert all(one in said for one in ("database", "uploads", "models of 1 project", "Redis", "--force")), said
    (tmp_path / "other" / "label-studio" / "label_studio.sqlite3-journal").unlink()
    assert words(tmp_path / "other") == other
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(file.read_bytes()[:-100_000])
    done = restore(tmp_path / "other", cut, "--force")
    assert done.exit_code == 1 and "damaged or cut short" in str(done.exception)
    with FileLock(tmp_path / "other" / "up.lock"):
        done = restore(tmp_path / "other", file, "--force")
    assert done.exit_code == 1 and "`drape up` runs in" in str(done.exception)
    assert words(tmp_path / "other") == other
    done = restore(tmp_path / "other", file, "--force")
    assert done.exit_code == 0, done.output
    assert words(tmp_path / "other") == KEPT


# No file may be larger: what a full disk looks like to whoever writes.
FULL = """
import resource, signal, sys
from launcher.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
main()
"""


def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path, starter: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "kept.tar.gz"
    fill(data, starter, word="kept")
    assert back_up(data, file).exit_code == 0
    for arguments in (["backup", str(tmp_path / "second.tar.gz")], ["restore", str(file), "--force"]):
        done = subprocess.run(
            [sys.executable, "-c", FULL, *arguments, "--data-dir", str(data), "--studio-venv", str(STUDIO_VENV)],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 1 and "File too large" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert words(data) == KEPT | {"counted": True}
    assert {path.name for path in tmp_path.iterdir()} == {"data", "kept.tar.gz"}


def test_another_kind_of_database_and_a_newer_label_studio_are_refused(
    tmp_path: Path, starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, file = tmp_path / "data", tmp_path / "kept.tar.gz"
    fill(data, starter, word="kept")
    assert drape("backup", file, "--data-dir", data, "--studio-venv", STUDIO_VENV).exit_code == 0
    older = tmp_path / "venv" / "lib" / "python3.11" / "site-packages" / "label_studio-1.9.0.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: label-studio\nVersion: 1.9.0\n")
    done = drape("restore", file, "--data-dir", tmp_path / "new", "--studio-venv", tmp_path / "venv")
    assert done.exit_code == 1 and "1.9.0, which is installed here, cannot read it" in str(done.exception)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "key")
    done = restore(tmp_path / "new", file)
    assert done.exit_code == 1 and "LABEL_STUDIO_DATABASE" in str(done.exception)
    monkeypatch.setenv("LABEL_STUDIO_DATABASE", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("LABEL_STUDIO_FILES", str(tmp_path / "media"))
    done = restore(tmp_path / "new", file)
    assert done.exit_code == 1 and "uses postgresql here" in str(done.exception)
    assert not (tmp_path / "new" / "models").exists()


def test_a_file_of_another_account_is_said(tmp_path: Path) -> None:
    """Root may read any file, so that the refusal is made here."""

    def opened(title: str) -> AbstractContextManager[IO[bytes]]:
        raise PermissionError(13, "Permission denied", "kept.tar.gz")

    sources = sources_of(Settings(data_dir=tmp_path), with_studio=False, studio_venv=STUDIO_VENV)
    with pytest.raises(LauncherError, match=r"kept.tar.gz cannot be read: Permission denied.*chown"):
        restore_backup(sources, "kept.tar.gz", opened)
