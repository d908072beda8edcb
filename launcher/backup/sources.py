"""Where the data of `drape backup` and `drape restore` is, and whether a process uses it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from filelock import FileLock, Timeout
from redis import Redis

from backend.label_studio.connection import fetch_version
from backend.queues.redis_connection import redis_errors, workers_of
from backend.settings import Settings
from launcher.backup.archive import DatabaseKind
from launcher.backup.label_studio_database import PostgresDatabase, SqliteDatabase
from launcher.errors import LauncherError
from launcher.stack.health import backend_answers
from launcher.stack.label_studio_server import studio_answers
from launcher.stack.redis_server import check_redis, redis_answers, redis_program, redis_url
from launcher.stack.saved_settings import complete
from launcher.stack.supervisor import Supervisor, free_port

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class BackupSources:
    """The data that a backup copies and a restore replaces.

    Attributes:
        settings: completed with the values of the last `drape up`.
        data: the data directory.
        own_studio, own_redis: whether `drape up` runs them, and not somebody else.
        database: Label Studio's database; None if Drape does not back it up.
        uploads: folder of the files that were uploaded to Label Studio; None in the same case.
        studio_venv: environment of the Label Studio that `drape up` runs.
    """

    settings: Settings
    data: Path
    own_studio: bool
    own_redis: bool
    database: SqliteDatabase | PostgresDatabase | None
    uploads: Path | None
    studio_venv: Path

    @property
    def redis(self) -> Path:
        """Folder of the Redis that `drape up` runs."""
        return self.data / "redis"

    @property
    def database_kind(self) -> DatabaseKind:
        """The kind of database that Label Studio uses; `none` if Drape does not back it up."""
        return "none" if self.database is None else self.database.kind

    @property
    def studio_release(self) -> str:
        """Label Studio's version: from its environment if `drape up` runs it, else from its API; '' if unknown."""
        if self.own_studio:
            folders = [str(folder) for folder in self.studio_venv.glob("lib/python*/site-packages")]
            return next((package.version for package in distributions(name="label-studio", path=folders)), "")
        try:
            return str(fetch_version(self.settings.label_studio_url, timeout_s=TIMEOUT_S).json()["release"])
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            return ""


def sources_of(settings: Settings, *, with_studio: bool, studio_venv: Path) -> BackupSources:
    """Determines where all data is.

    Args:
        settings: those from the environment and the command line; values of the last `drape up` are added.
        with_studio: False leaves out Label Studio's database and uploads.

    Raises:
        LauncherError: the settings do not say where Label Studio stores its data.
    """
    data = settings.data_dir.resolve()
    own_studio = (
        not (settings.label_studio_url and settings.label_studio_api_key) and not settings.label_studio_database
    )
    database: SqliteDatabase | PostgresDatabase | None = None
    uploads = None
    if with_studio and own_studio:
        database = SqliteDatabase(data / "label-studio" / "label_studio.sqlite3")
        uploads = data / "label-studio" / "media"
    elif with_studio:
        if not settings.label_studio_database or settings.label_studio_files is None:
            raise LauncherError(
                "`drape up` does not run this Label Studio. Set LABEL_STUDIO_DATABASE (postgresql://user@host/name) "
                "and LABEL_STUDIO_FILES (its folder `media`), or leave its data out with --no-label-studio."
            )
        database = PostgresDatabase(settings.label_studio_database, settings.postgres_password)
        uploads = settings.label_studio_files
    completed = complete(settings.model_copy(update={"data_dir": data}))
    return BackupSources(completed, data, own_studio, not settings.redis_url, database, uploads, studio_venv)


@contextmanager
def connect_to_redis(sources: BackupSources) -> Iterator[Redis]:
    """Connects to the Redis that runs; if it is `drape up`'s and stopped, starts it while the block runs.

    Raises:
        LauncherError, QueueError: Redis does not answer.
    """
    if not sources.own_redis:
        url = sources.settings.redis_address
    else:
        try:
            with FileLock(sources.data / "up.lock", timeout=0), own_redis(sources.redis) as redis:
                yield redis
                return
        except Timeout:
            url = sources.settings.redis_address
    check_redis(url)
    with Redis.from_url(url) as redis, redis_errors():
        yield redis


@contextmanager
def own_redis(folder: Path) -> Iterator[Redis]:
    """Runs a Redis on the data in `folder`, at a random free port; the data is on the disk when the block ends."""
    port, password = free_port(), secrets.token_urlsafe(24)
    with TemporaryDirectory() as logs:
        supervisor = Supervisor(Path(logs))
        url = redis_url(port, password)
        supervisor.start(redis_program(folder, port=port, password=password))
        try:
            supervisor.wait_until(lambda: redis_answers(url), what="Redis", timeout_s=60)
            with Redis.from_url(url) as redis, redis_errors():
                yield redis
        finally:
            supervisor.stop()


@contextmanager
def exclusive_access(sources: BackupSources) -> Iterator[None]:
    """Prevents `drape up` from starting while the block runs.

    Raises:
        LauncherError: a process runs that uses the data to be replaced; the message says what to stop.
    """
    sources.data.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(sources.data / "up.lock", timeout=0):
            _check_stopped(sources)
            yield
    except Timeout as e:
        raise LauncherError(f"`drape up` runs in {sources.data}. Stop it (Ctrl-C), then restore.") from e


def _check_stopped(sources: BackupSources) -> None:
    studio_url = sources.settings.label_studio_url
    if sources.database is not None and studio_url and studio_answers(studio_url):
        raise LauncherError(f"Label Studio runs at {studio_url}. Stop it, then restore.")
    if backend_answers(sources.settings.backend_address):
        raise LauncherError("The backend runs. Stop it (`drape serve`, `docker-compose stop backend`), then restore.")
    if not sources.own_redis:
        check_redis(sources.settings.redis_address)
        with Redis.from_url(sources.settings.redis_address) as redis, redis_errors():
            names = sorted(worker.name for worker in workers_of(redis))
        if names:
            raise LauncherError(
                f"Workers run ({', '.join(names)}). Stop them and the timer, then restore. Redis lists dead workers "
                "for some minutes."
            )
    if isinstance(sources.database, PostgresDatabase) and (count := sources.database.other_connections()):
        raise LauncherError(f"Label Studio's database has {count} other connections. Stop Label Studio, then restore.")
