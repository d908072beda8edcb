"""Copies and restores Label Studio's database: the SQLite of `drape up`, or PostgreSQL with its own tools."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from launcher.backup.archive import DatabaseKind
from launcher.errors import LauncherError

# Iterations of the password hash. Any number works, because Django reads it from the hash itself.
PBKDF2_ITERATIONS = 1_000_000
# Endings of the files beside a database in which SQLite stores unfinished transactions.
JOURNALS = ("-journal", "-wal", "-shm")


@dataclass(frozen=True)
class SqliteDatabase:
    """A database file, which Label Studio may be writing to."""

    kind: ClassVar[DatabaseKind] = "sqlite"
    # Name of the copy in a backup.
    copy_name: ClassVar[str] = "label_studio.sqlite3"
    path: Path

    def save(self, into: Path) -> None:
        """Copies the database as it is at one moment.

        The copy is one step: after a write between two steps SQLite would begin again. Writers wait meanwhile.

        Raises:
            LauncherError: the database does not exist, cannot be copied, or is damaged.
        """
        if not self.path.is_file():
            raise LauncherError(f"Label Studio's database {self.path} does not exist. Is the data directory right?")
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as source, closing(sqlite3.connect(into)) as copy:
                source.backup(copy)
        except sqlite3.Error as e:
            raise LauncherError(f"{self.path} cannot be copied: {e}.") from e
        check_sqlite(into)

    def has_data(self) -> bool:
        """Whether the database exists."""
        return self.path.exists()


def check_sqlite(path: Path) -> None:
    """Raises `LauncherError` if the file is not an intact database."""
    try:
        with closing(sqlite3.connect(path)) as database:
            (result,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as e:
        result = str(e)
    if result != "ok":
        raise LauncherError(f"Label Studio's database is damaged: {result}.")


def set_password(path: Path, *, email: str, password: str) -> None:
    """Sets an account's password, hashed as Django does it; does nothing if no account has that address."""
    salt = secrets.token_hex(11)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), PBKDF2_ITERATIONS)
    hashed = f"pbkdf2_sha256${PBKDF2_ITERATIONS}${salt}${base64.b64encode(digest).decode()}"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE htx_user SET password = ? WHERE email = ?", (hashed, email))


@dataclass(frozen=True)
class PostgresDatabase:
    """A database at `postgresql://user@host/name`; PostgreSQL's own tools must be on the PATH."""

    kind: ClassVar[DatabaseKind] = "postgresql"
    copy_name: ClassVar[str] = "label_studio.dump"
    url: str
    password: str = field(default="", repr=False)

    def save(self, into: Path) -> None:
        """Dumps the database as it is at one moment; writers do not wait.

        Raises:
            LauncherError: the dump failed; the message quotes `pg_dump`.
        """
        self._run("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={into}")

    def restore(self, dump: Path) -> None:
        """Replaces everything in the database with a dump, in one transaction: a failure changes nothing.

        `pg_restore --clean` is not enough: it leaves objects that the dump lacks, and stops if they are in the way.

        Raises:
            LauncherError: the restore failed; the message quotes PostgreSQL.
        """
        read_dump = [_tool("pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(dump)]
        with (
            tempfile.TemporaryFile() as stderr,
            subprocess.Popen(read_dump, stdout=subprocess.PIPE, stderr=stderr) as reader,
            subprocess.Popen(
                [_tool("psql"), f"--dbname={self._address()}", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=self._environment(),
            ) as writer,
        ):
            _pipe_sql(reader, writer)
            failed = writer.wait() or reader.wait()
            stderr.seek(0)
            errors = stderr.read().decode(errors="replace")
        if failed:
            raise LauncherError(f"The database cannot be restored, and is unchanged: {_error_line(errors)}")

    def has_data(self) -> bool:
        """Whether the database has any table."""
        return self._query_number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") > 0

    def other_connections(self) -> int:
        """Number of programs that are connected to the database besides this one; health checks do not count."""
        return self._query_number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND application_name <> 'pg_isready'"
        )

    def _query_number(self, query: str) -> int:
        return int(self._run("psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={query}"))

    def _run(self, tool: str, *arguments: str) -> str:
        command = [_tool(tool), f"--dbname={self._address()}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), check=False)
        if done.returncode:
            raise LauncherError(f"{tool} failed for LABEL_STUDIO_DATABASE: {_error_line(done.stderr)}")
        return done.stdout

    def _address(self) -> str:
        # Without the password: every user can read a process's command line, only its owner its environment.
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user.partition(':')[0]}@{host}" if user else host).geturl()

    def _environment(self) -> dict[str, str]:
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        password = self.password or unquote(urlsplit(self.url).password or "")
        return environment | ({"PGPASSWORD": password} if password else {})


def _pipe_sql(reader: subprocess.Popen[bytes], writer: subprocess.Popen[bytes]) -> None:
    """Runs the SQL that is read in one transaction; without COMMIT if reading fails, so that PostgreSQL rolls back."""
    source, target = reader.stdout, writer.stdin
    if source is None or target is None:
        raise ValueError("Both need pipes.")
    try:
        target.write(b"BEGIN;\nDROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\n")
        shutil.copyfileobj(source, target)
        if reader.wait() == 0:
            target.write(b"\nCOMMIT;\n")
        target.close()
    except BrokenPipeError:
        # psql stopped at an error, which it reports itself.
        source.close()


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise LauncherError(f"{name} is not on the PATH. Install PostgreSQL's client (Debian: postgresql-client).")
    return path


def _error_line(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "no error message.")
