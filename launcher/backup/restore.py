"""What `drape backup` has kept, put back: looked through first, made beside what is there, and moved in its place."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from redis import Redis

from backend.errors import StorageError
from backend.queues.redis_connection import redis_errors
from backend.registry.registry import MODELS, Registry
from launcher.backup.archive import BackupManifest, PartName, read_archive
from launcher.backup.back_up import DUMP, STATE, kind_of
from launcher.backup.label_studio_database import JOURNALS, PostgresDatabase, SqliteDatabase, check_sqlite, set_password
from launcher.backup.model_versions import check_versions, versions_of
from launcher.backup.redis_state import holds_something, write_state
from launcher.backup.replace_files import Replacement, as_its_surroundings, delete, replace_all, settle
from launcher.backup.sources import BackupSources, nobody_works, own_redis
from launcher.errors import LauncherError
from launcher.stack.label_studio_server import EMAIL
from launcher.stack.secret_files import Secrets

# Opens the archive from its beginning, and shows how far it is read under this title.
Opened = Callable[[str], AbstractContextManager[IO[bytes]]]
# Made from Label Studio's record as it was before: counts of approvals, and a training that was not through.
DERIVED = ("approvals", "training")


@dataclass(frozen=True)
class Restored:
    """What was put back: what the backup says of itself, model versions, and jobs that wait now."""

    manifest: BackupManifest
    versions: int
    jobs: int


@dataclass
class _Beside:
    """Where the parts are made: beside the places that they are moved to, the others in `folder`."""

    sources: BackupSources
    folder: Path
    with_studio: bool
    swapped: list[Replacement] = field(init=False)

    def __post_init__(self) -> None:
        self.versions = versions_of(self.sources.settings, self.folder)
        self.models = self.versions.place
        self.made_models = self.models.new if self.models is not None else self.folder / "models"
        self.redis = Replacement(self.sources.redis)
        self.swapped = [Replacement(self.sources.data / name, gone=True) for name in DERIVED]
        # Copies of what a storage held before.
        self.swapped.append(Replacement(self.sources.settings.cache_path / MODELS, gone=True))
        if self.models is not None:
            self.swapped.append(self.models)
        if self.sources.own_redis:
            self.swapped.append(self.redis)
        if not self.with_studio or self.sources.uploads is None:
            return
        self.uploads = Replacement(self.sources.uploads)
        self.swapped.append(self.uploads)
        if isinstance(self.sources.database, SqliteDatabase):
            path = self.sources.database.path
            self.database = Replacement(path)
            # Of the old one, which they would be written into the new one of.
            journals = [Replacement(path.with_name(path.name + ending), gone=True) for ending in JOURNALS]
            self.swapped += [self.database, *journals]

    def open(self, part: PartName, path: str, info: tarfile.TarInfo) -> IO[bytes] | None:
        """Where the content of a file goes; None for what is left out."""
        match part:
            case "redis":
                target = self.folder / STATE
            case "models":
                target = self.made_models / path
            case _ if not self.with_studio:
                return None
            case "uploads":
                target = self.uploads.new / path
            case "database":
                is_file = isinstance(self.sources.database, SqliteDatabase)
                target = self.database.new if is_file else self.folder / DUMP
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, info.mode & 0o755 | 0o600)
        return os.fdopen(descriptor, "wb")


def restore(sources: BackupSources, name: str, opened: Opened, *, force: bool = False) -> Restored:
    """Puts a backup in the place of what is there.

    Files are replaced all or not at all, after the database of PostgreSQL in one transaction of its own. Redis comes
    in between: Label Studio is the record, and what Redis lacks is found again. Where models are in a storage, versions
    are added to it before all that, and after it they become champions and the others go.

    Args:
        name: what the archive is called.
        force: replaces what is there.

    Raises:
        LauncherError: the archive is damaged, or of something else; something runs; there is something, and no
            `force`; the disk is full. Nothing has changed then.
        ModelError: weights are not those that were stored; nothing has changed.
        QueueError: Redis is away.
        StorageError: the models are to be in a storage, which is away; nothing has changed.
    """
    with opened("Looking through it") as file:
        manifest = read_archive(file, name=name)
    _check_fits(manifest, sources, name)
    with nobody_works(sources):
        try:
            return _restore(sources, manifest, name, opened, force=force)
        except OSError as e:
            raise LauncherError(
                f"{name} cannot be restored: {e.strerror or e} ({e.filename or sources.data}). What was there is there."
            ) from e


def _restore(sources: BackupSources, manifest: BackupManifest, name: str, opened: Opened, *, force: bool) -> Restored:
    with TemporaryDirectory(prefix=".restoring-", dir=sources.data) as folder:
        beside = _Beside(sources, Path(folder), manifest.database != "none" and sources.database is not None)
        settle(beside.swapped)
        if not force and (there := _what_is_there(beside)):
            raise LauncherError(
                f"There is something already: {', '.join(there)}. --force puts the backup in its place."
            )
        try:
            _unpack(beside, name, opened)
            versions = check_versions(made := Registry(beside.made_models))
            _adopt_database(beside)
            os.sync()
            with _said("Label Studio and Redis are as they were. Versions of the backup may be there already"):
                beside.versions.add(made)
            if isinstance(sources.database, PostgresDatabase) and beside.with_studio:
                sources.database.restore(beside.folder / DUMP)
            jobs = _write_redis(beside)
            replace_all(beside.swapped)
            with _said("All is restored but which models projects work with, and versions that are too many"):
                beside.versions.end(made)
        finally:
            for place in beside.swapped:
                delete(place.new)
    return Restored(manifest, versions, jobs)


@contextmanager
def _said(state: str) -> Iterator[None]:
    try:
        yield
    except StorageError as e:
        raise LauncherError(f"{e} {state}: once it answers, restore again, with --force.") from e


def _check_fits(manifest: BackupManifest, sources: BackupSources, name: str) -> None:
    kind = kind_of(sources)
    if "none" not in (kind, manifest.database) and kind != manifest.database:
        raise LauncherError(
            f"{name} holds a database of {manifest.database}, and Label Studio works on {kind} here. They cannot take "
            "each other's place."
        )
    release = sources.studio_release
    if release and manifest.label_studio and _numbers(manifest.label_studio) > _numbers(release):
        raise LauncherError(
            f"{name} was made with Label Studio {manifest.label_studio}; {release}, which is here, cannot read it. "
            "Take that version or a later one."
        )
    sources.data.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(sources.data).free
    if free < manifest.size_bytes:
        raise LauncherError(
            f"{name} needs {manifest.size_bytes / 1e9:.1f} GB in {sources.data}, beside what is there; "
            f"{free / 1e9:.1f} GB are free."
        )


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])


def _what_is_there(beside: _Beside) -> list[str]:
    sources, found = beside.sources, []
    if beside.with_studio and sources.database is not None and sources.database.holds_something():
        found.append("Label Studio's database")
    if (
        beside.with_studio
        and sources.uploads is not None
        and any(path.is_file() for path in sources.uploads.rglob("*"))
    ):
        found.append(f"uploads in {sources.uploads}")
    if projects := beside.versions.project_ids():
        found.append(f"models of {len(projects)} project{'s' if len(projects) > 1 else ''}")
    if sources.own_redis:
        if any(path.name != "redis.conf" for path in sources.redis.glob("*")):
            found.append("the queues of Redis")
    else:
        with Redis.from_url(sources.settings.redis_address) as redis, redis_errors():
            if holds_something(redis):
                found.append("jobs or facts in Redis")
    return found


def _unpack(beside: _Beside, name: str, opened: Opened) -> None:
    # There even where no file is.
    beside.made_models.mkdir(parents=True)
    for place in beside.swapped:
        if place == getattr(beside, "uploads", None):
            place.new.mkdir(parents=True)
    with opened("Restoring") as file:
        read_archive(file, name=name, take=beside.open)
    for place in beside.swapped:
        if place.new.exists():
            as_its_surroundings(place.new)


def _adopt_database(beside: _Beside) -> None:
    if not (beside.with_studio and isinstance(beside.sources.database, SqliteDatabase)):
        return
    check_sqlite(beside.database.new)
    # Passwords are not in a backup: the account gets the one that this machine's `drape up` logs in with.
    password = Secrets(beside.sources.data / "secrets").make("label-studio-password")
    set_password(beside.database.new, email=EMAIL, password=password)


def _write_redis(beside: _Beside) -> int:
    with (beside.folder / STATE).open() as lines:
        if beside.sources.own_redis:
            with own_redis(beside.redis.new) as redis:
                return write_state(redis, lines)
        with Redis.from_url(beside.sources.settings.redis_address) as redis, redis_errors():
            return write_state(redis, lines)
