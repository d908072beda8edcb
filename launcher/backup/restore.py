"""Restores a backup: checks all of it, unpacks it beside the present files, and moves it into their place."""

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

# Opens the archive at its beginning, and shows the progress of reading it under this title.
Opened = Callable[[str], AbstractContextManager[IO[bytes]]]
# Folders made from Label Studio's previous data: counts of approvals, and an unfinished training.
DERIVED = ("approvals", "training")


@dataclass(frozen=True)
class Restored:
    """The result of a restore: the backup's manifest, and the numbers of model versions and of jobs that wait now."""

    manifest: BackupManifest
    versions: int
    jobs: int


@dataclass
class _Beside:
    """Where the parts are unpacked: files to be moved, beside their final places; other parts in `folder`."""

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
        # This machine's copies of the versions that a storage held before.
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
            # Journals of the old database, which SQLite would apply to the new one.
            journals = [Replacement(path.with_name(path.name + ending), gone=True) for ending in JOURNALS]
            self.swapped += [self.database, *journals]

    def open(self, part: PartName, path: str, info: tarfile.TarInfo) -> IO[bytes] | None:
        """Opens the file that the content of a member goes to; returns None for members that are left out."""
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
    """Replaces the present data with a backup.

    The order: add the versions to a storage, if models are in one; replace a PostgreSQL database, in one transaction;
    replace what Redis holds; replace the files, all or none; set the storage's champions and remove its other versions.
    Redis needs no transaction, because Label Studio is the record, and what Redis lacks is found again.

    Args:
        name: the archive's name in messages.
        force: replaces data that exists.

    Raises:
        LauncherError: the archive is damaged, or does not fit; a process runs that uses the data; there is data, and no
            `force`; the disk is full: nothing has changed. Or the storage failed midway: the message says what changed.
        ModelError: weights are not those that were stored; nothing has changed.
        QueueError: Redis is unreachable.
        StorageError: the models belong in a storage that is unreachable; nothing has changed.
    """
    try:
        with opened("Looking through it") as file:
            manifest = read_archive(file, name=name)
    except OSError as e:
        raise LauncherError(
            f"{name} cannot be read: {e.strerror or e}. It is its owner's alone: give it to this account (chown)."
        ) from e
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
    # These folders must exist even if the backup has no file for them.
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
    # A backup has only hashes of passwords: the account gets the password that `drape up` logs in with here.
    password = Secrets(beside.sources.data / "secrets").make("label-studio-password")
    set_password(beside.database.new, email=EMAIL, password=password)


def _write_redis(beside: _Beside) -> int:
    with (beside.folder / STATE).open() as lines:
        if beside.sources.own_redis:
            with own_redis(beside.redis.new) as redis:
                return write_state(redis, lines)
        with Redis.from_url(beside.sources.settings.redis_address) as redis, redis_errors():
            return write_state(redis, lines)
