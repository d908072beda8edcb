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
from urllib.parse import unquote, urlsplit

from launcher.errors import LauncherError

# Iterations of the password hash. Any number works, because Django reads it from the hash itself.
HASHED_TIMES = 1_000_000
# Endings of the files beside a database in which SQLite stores unfinished transactions.
JOURNALS = ("-journal", "-wal", "-shm")


@dataclass(frozen=True)
class SqliteDatabase:
    """A database file, which Label Studio may be writing to."""

    path: Path

    def save(self, into: Path) -> None:
        """Copies the database as it is at one moment.

        The copy is one step: after a write between two steps SQLite would begin again. Writers wait meanwhile.

        Raises:
            LauncherError: the database does not exist, cannot be copied, or is damaged.
        """
        if not self.path.is_file():
            raise LauncherError(f"There is no Label Studio database {self.path}. Did `drape up` run with this data?")
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as source, closing(sqlite3.connect(into)) as copy:
                source.backup(copy)
        except sqlite3.Error as e:
            raise LauncherError(f"{self.path} cannot be copied: {e}.") from e
        check_sqlite(into)

    def holds_something(self) -> bool:
        """Whether the database exists."""
        return self.path.exists()


def check_sqlite(path: Path) -> None:
    """Raises `LauncherError` if the file is not an intact database."""
    try:
        with closing(sqlite3.connect(path)) as database:
            (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as e:
        said = str(e)
    if said != "ok":
        raise LauncherError(f"Label Studio's database is damaged: {said}.")


def set_password(path: Path, *, email: str, password: str) -> None:
    """Sets an account's password, hashed as Django does it; does nothing if no account has that address."""
    salt = secrets.token_hex(11)
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), HASHED_TIMES)
    hashed = f"pbkdf2_sha256${HASHED_TIMES}${salt}${base64.b64encode(digest).decode()}"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE htx_user SET password = ? WHERE email = ?", (hashed, email))


@dataclass(frozen=True)
class PostgresDatabase:
    """A database at `postgresql://user@host/name`; PostgreSQL's own tools must be on the PATH."""

    url: str
    password: str = field(default="", repr=False)

    def save(self, into: Path) -> None:
        """Dumps the database as it is at one moment; writers do not wait.

        Raises:
            LauncherError: the dump failed; the message quotes `pg_dump`.
        """
        self._asked("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={into}")

    def restore(self, dump: Path) -> None:
        """Replaces everything in the database with a dump, in one transaction: a failure changes nothing.

        `pg_restore --clean` would not do: it leaves objects that the dump lacks, and stops if they are in the way.

        Raises:
            LauncherError: the restore failed; the message quotes PostgreSQL.
        """
        read = [_tool("pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(dump)]
        with (
            tempfile.TemporaryFile() as wrong,
            subprocess.Popen(read, stdout=subprocess.PIPE, stderr=wrong) as reading,
            subprocess.Popen(
                [_tool("psql"), f"--dbname={self._address()}", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=wrong,
                env=self._environment(),
            ) as writing,
        ):
            _pump(reading, writing)
            failed = writing.wait() or reading.wait()
            wrong.seek(0)
            said = wrong.read().decode(errors="replace")
        if failed:
            raise LauncherError(f"The database cannot be restored, and is as it was: {_first(said)}")

    def holds_something(self) -> bool:
        """Whether the database has any table."""
        return self._number("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") > 0

    def others(self) -> int:
        """Number of programs that are connected to the database besides this one; health checks do not count."""
        return self._number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND application_name <> 'pg_isready'"
        )

    def _number(self, query: str) -> int:
        return int(self._asked("psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={query}"))

    def _asked(self, tool: str, *arguments: str) -> str:
        command = [_tool(tool), f"--dbname={self._address()}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), check=False)
        if done.returncode:
            raise LauncherError(f"{tool} failed for LABEL_STUDIO_DATABASE: {_first(done.stderr)}")
        return done.stdout

    def _address(self) -> str:
        # Without the password: every user can read a process's command line, only its owner its environment.
        parts = urlsplit(self.url)
        user, _, host = parts.netloc.rpartition("@")
        return parts._replace(netloc=f"{user.partition(':')[0]}@{host}" if user else host).geturl()

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        password = self.password or unquote(urlsplit(self.url).password or "")
        return {**kept, **({"PGPASSWORD": password} if password else {})}


def _pump(reading: subprocess.Popen[bytes], writing: subprocess.Popen[bytes]) -> None:
    """Runs the SQL that is read in one transaction; without COMMIT if reading fails, so that PostgreSQL rolls back."""
    source, target = reading.stdout, writing.stdin
    if source is None or target is None:
        raise ValueError("Both need pipes.")
    try:
        target.write(b"BEGIN;\nDROP SCHEMA public CASCADE;\nCREATE SCHEMA public;\n")
        shutil.copyfileobj(source, target)
        if reading.wait() == 0:
            target.write(b"\nCOMMIT;\n")
        target.close()
    except BrokenPipeError:
        # psql stopped at an error, which it reports itself.
        source.close()


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise LauncherError(f"There is no {name} on the PATH. Install PostgreSQL's client (Debian: postgresql-client).")
    return found


def _first(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "it does not say why.")
