"""Label Studio's database, of both kinds: copied while it is written to, and put back whole or not at all."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest

from launcher.backup.label_studio_database import PostgresDatabase, SqliteDatabase, check_sqlite, set_password
from launcher.errors import LauncherError
from tests.conftest import STUDIO_VENV
from tests.postgres import PASSWORD, query


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_copy_is_of_one_moment_while_others_write(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "label_studio.sqlite3"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("CREATE TABLE task (word BLOB)")
        database.execute("CREATE TABLE annotation (word BLOB)")
    over = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=60)) as database:
            while not over.is_set():
                with database:
                    database.execute("INSERT INTO task VALUES (zeroblob(20000))")
                    database.execute("INSERT INTO annotation VALUES (zeroblob(20000))")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = []
        for number in range(5):
            copy = tmp_path / f"copy{number}"
            SqliteDatabase(path).save(copy)
            with closing(sqlite3.connect(copy)) as database:
                tasks, annotations = (
                    database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("task", "annotation")
                )
            assert tasks == annotations
            counts.append(tasks)
    finally:
        over.set()
        writer.join()
    assert counts == sorted(counts)


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match=r"database .* does not exist"):
        SqliteDatabase(tmp_path / "none").save(tmp_path / "copy")
    broken = tmp_path / "broken"
    with closing(sqlite3.connect(broken)) as database, database:
        database.execute("CREATE TABLE task (word TEXT)")
        database.executemany("INSERT INTO task VALUES (?)", [(str(number) * 50,) for number in range(1000)])
    content = bytearray(broken.read_bytes())
    content[8192:16384] = b"\xff" * 8192
    broken.write_bytes(content)
    with pytest.raises(LauncherError, match="is damaged"):
        SqliteDatabase(broken).save(tmp_path / "copy")


def test_label_studio_accepts_the_password(tmp_path: Path) -> None:
    path = tmp_path / "label_studio.sqlite3"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE htx_user (email TEXT, password TEXT)")
        database.execute("INSERT INTO htx_user VALUES ('admin@drape.local', '')")
    set_password(path, email="admin@drape.local", password=PASSWORD)
    check_sqlite(path)
    with closing(sqlite3.connect(path)) as database:
        (hashed,) = database.execute("SELECT password FROM htx_user").fetchone()
    asked = (
        "import sys; from django.conf import settings; settings.configure();"
        "from django.contrib.auth.hashers import check_password; sys.exit(not check_password(*sys.argv[1:]))"
    )
    python = str(STUDIO_VENV / "bin" / "python")
    for word, status in ((PASSWORD, 0), ("another", 1)):
        assert subprocess.run([python, "-c", asked, word, hashed], timeout=60, check=False).returncode == status


@pytest.mark.services
def test_postgresql_is_put_back_whole_or_not_at_all(postgres: str, tmp_path: Path) -> None:
    address = f"{postgres}/postgres"
    database = PostgresDatabase(address, PASSWORD)
    assert not database.has_data() and database.other_connections() == 0
    query(
        address,
        "CREATE TABLE project (id serial PRIMARY KEY, title text);"
        "CREATE TABLE task (id serial PRIMARY KEY, project int REFERENCES project, word jsonb);"
        "CREATE EXTENSION pg_trgm; CREATE INDEX word ON project USING gin (title gin_trgm_ops);"
        "INSERT INTO project (title) VALUES ('साड़ी \\\\. with ''quotes''');"
        "INSERT INTO task (project, word) SELECT 1, to_jsonb(n) FROM generate_series(1, 5000) n",
    )
    dump = tmp_path / "dump"
    database.save(dump)
    kept = query(address, "SELECT md5(string_agg(word::text, ',' ORDER BY id)) FROM task")

    # What came later goes, also what refers to the old.
    query(address, "DELETE FROM task WHERE id > 10; CREATE TABLE later (task int REFERENCES task)")
    database.restore(dump)
    assert query(address, "SELECT md5(string_agg(word::text, ',' ORDER BY id)) FROM task") == kept
    assert query(address, "SELECT title FROM project") == "साड़ी \\\\. with 'quotes'"
    assert query(address, "SELECT to_regclass('later') IS NULL") == "t"
    # Numbers go on where they were.
    assert query(address, "INSERT INTO task (project) VALUES (1) RETURNING id") == "5001"
    assert database.has_data()

    cut = tmp_path / "cut"
    cut.write_bytes(dump.read_bytes()[:-3000])
    (tmp_path / "none").write_text("no dump")
    for broken in (cut, tmp_path / "none"):
        with pytest.raises(LauncherError, match="cannot be restored, and is unchanged"):
            database.restore(broken)
        assert query(address, "SELECT count(*) FROM task") == "5001"
    with pytest.raises(LauncherError, match="pg_dump failed"):
        PostgresDatabase(address, "wrong").save(tmp_path / "other")
    # A password in the address does as well, and is in no list of processes.
    inside = PostgresDatabase(address.replace("label_studio@", "label_studio:w%C3%B6rd%2F%40%3A@"))
    inside.save(tmp_path / "again")
    assert "rd" not in inside._address().partition("@")[0].removeprefix("postgresql://")
