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
from launcher.backup.back_up import STATE
from launcher.backup.label_studio_database import JOURNALS, PostgresDatabase, SqliteDatabase, check_sqlite, set_password
from launcher.backup.model_versions import are_shared, check_versions, finish, open_models, upload
from launcher.backup.redis_state import has_data, write_state
from launcher.backup.replace_files import Replacement, delete, inherit_owner, recover, replace_all
from launcher.backup.sources import BackupSources, exclusive_access, own_redis
from launcher.errors import LauncherError
from launcher.stack.label_studio_server import EMAIL
from launcher.stack.secret_files import Secrets

# Opens the archive at its beginning, and shows the progress of reading it under this title.
OpenArchive = Callable[[str], AbstractContextManager[IO[bytes]]]
# Folders made from Label Studio's previous data: counts of approvals, and an unfinished training.
DERIVED_FOLDERS = ("approvals", "training")


@dataclass(frozen=True)
class Restored:
    """The result of a restore: the backup's manifest, and the numbers of model versions and of jobs that wait now."""

    manifest: BackupManifest
    versions: int
    jobs: int


@dataclass
class _Staging:
    """Where the parts are unpacked: files to be moved, beside their final places; other parts in `folder`."""

    sources: BackupSources
    folder: Path
    with_studio: bool
    replacements: list[Replacement] = field(init=False)
    uploads: Replacement | None = None
    sqlite: Replacement | None = None

    def __post_init__(self) -> None:
        self.versions = open_models(self.sources.settings, self.folder)
        # A storage gets its versions by `upload` and `finish`.
        models = None if are_shared(self.versions) else Replacement(self.versions.copies)
        self.models = models.new if models is not None else self.folder / "models"
        self.redis = Replacement(self.sources.redis)
        self.replacements = [Replacement(self.sources.data / name, remove_only=True) for name in DERIVED_FOLDERS]
        # This machine's copies of the versions that a storage held before.
        self.replacements.append(Replacement(self.sources.settings.cache_path / MODELS, remove_only=True))
        if models is not None:
            self.replacements.append(models)
        if self.sources.own_redis:
            self.replacements.append(self.redis)
        if not self.with_studio or self.sources.uploads is None:
            return
        self.uploads = Replacement(self.sources.uploads)
        self.replacements.append(self.uploads)
        if isinstance(self.sources.database, SqliteDatabase):
            path = self.sources.database.path
            self.sqlite = Replacement(path)
            # Journals of the old database, which SQLite would apply to the new one.
            journals = [Replacement(path.with_name(path.name + ending), remove_only=True) for ending in JOURNALS]
            self.replacements += [self.sqlite, *journals]

    @property
    def dump(self) -> Path:
        """Where the dump of a PostgreSQL database is unpacked."""
        return self.folder / PostgresDatabase.copy_name

    def open(self, part: PartName, path: str, info: tarfile.TarInfo) -> IO[bytes] | None:
        """Opens the file that the content of a member goes to; returns None for members that are left out."""
        match part:
            case "redis":
                target = self.folder / STATE
            case "models":
                target = self.models / path
            case "uploads" if self.uploads is not None:
                target = self.uploads.new / path
            case "database" if self.with_studio:
                target = self.sqlite.new if self.sqlite is not None else self.dump
            case _:
                return None
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, info.mode & 0o755 | 0o600)
        return os.fdopen(descriptor, "wb")


def restore(sources: BackupSources, name: str, open_archive: OpenArchive, *, force: bool = False) -> Restored:
    """Replaces the present data with a backup.

    The order: upload the versions to a storage, if models are in one; replace a PostgreSQL database, in one
    transaction; replace what Redis holds; replace the files, all or none; make the uploaded versions the storage's only
    ones.
    Redis needs no transaction, because Label Studio is the record, and what Redis lacks is found again.

    Args:
        name: the archive's name in messages.
        force: replaces data that exists.

    Raises:
        LauncherError: the archive is damaged, or does not fit; a process runs that uses the data; there is data, and no
            `force`; the disk is full: nothing has changed. Or the storage failed midway: the message says what changed.
        ModelError: weights are not those that were stored; nothing has changed.
        QueueError: Redis does not answer.
        StorageError: the models belong in a storage that is unreachable; nothing has changed.
    """
    try:
        with open_archive("Checking the backup") as file:
            manifest = read_archive(file, name=name)
    except OSError as e:
        raise LauncherError(
            f"{name} cannot be read: {e.strerror or e}. Only its owner can read it: give it to this account (chown)."
        ) from e
    _check_compatible(manifest, sources, name)
    with exclusive_access(sources):
        try:
            return _restore(sources, manifest, name, open_archive, force=force)
        except OSError as e:
            raise LauncherError(
                f"{name} cannot be restored: {e.strerror or e} ({e.filename or sources.data}). The old files are kept."
            ) from e


def _restore(
    sources: BackupSources, manifest: BackupManifest, name: str, open_archive: OpenArchive, *, force: bool
) -> Restored:
    with TemporaryDirectory(prefix=".restoring-", dir=sources.data) as folder:
        staging = _Staging(sources, Path(folder), manifest.database != "none" and sources.database is not None)
        recover(staging.replacements)
        if not force and (existing := _existing_data(staging)):
            raise LauncherError(f"There is data already: {', '.join(existing)}. Replace it with --force.")
        try:
            _unpack(staging, name, open_archive)
            versions = check_versions(restored := Registry(staging.models).files)
            _prepare_sqlite(staging)
            os.sync()
            if are_shared(staging.versions):
                with _explain_storage_error("Nothing has changed."):
                    upload(staging.versions, restored)
            if isinstance(sources.database, PostgresDatabase) and staging.with_studio:
                sources.database.restore(staging.dump)
            jobs = _write_redis(staging)
            replace_all(staging.replacements)
            if are_shared(staging.versions):
                with _explain_storage_error("Everything is restored, except that the storage may have old versions."):
                    finish(staging.versions, restored)
        finally:
            for replacement in staging.replacements:
                delete(replacement.new)
    return Restored(manifest, versions, jobs)


@contextmanager
def _explain_storage_error(state: str) -> Iterator[None]:
    try:
        yield
    except StorageError as e:
        raise LauncherError(f"{e} {state} When the storage answers, restore again with --force.") from e


def _check_compatible(manifest: BackupManifest, sources: BackupSources, name: str) -> None:
    kind = sources.database_kind
    if "none" not in (kind, manifest.database) and kind != manifest.database:
        raise LauncherError(
            f"{name} holds a {manifest.database} database, but Label Studio uses {kind} here. Restore it where Label "
            f"Studio uses {manifest.database}."
        )
    release = sources.studio_release
    if release and manifest.label_studio and _numbers(manifest.label_studio) > _numbers(release):
        raise LauncherError(
            f"{name} was made with Label Studio {manifest.label_studio}. Label Studio {release}, which is installed "
            "here, cannot read it. Install that version or a later one."
        )
    sources.data.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(sources.data).free
    if free < manifest.size_bytes:
        raise LauncherError(
            f"{name} needs {manifest.size_bytes / 1e9:.1f} GB in {sources.data}, where {free / 1e9:.1f} GB are free."
        )


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])


def _existing_data(staging: _Staging) -> list[str]:
    sources, existing = staging.sources, []
    if staging.with_studio and sources.database is not None and sources.database.has_data():
        existing.append("Label Studio's database")
    if staging.uploads is not None and any(path.is_file() for path in staging.uploads.path.rglob("*")):
        existing.append(f"uploads in {staging.uploads.path}")
    if projects := staging.versions.indexes.project_ids():
        existing.append(f"models of {len(projects)} project{'s' if len(projects) > 1 else ''}")
    if sources.own_redis:
        if any(path.name != "redis.conf" for path in sources.redis.glob("*")):
            existing.append("the queues of Redis")
    else:
        with Redis.from_url(sources.settings.redis_address) as redis, redis_errors():
            if has_data(redis):
                existing.append("jobs or other data in Redis")
    return existing


def _unpack(staging: _Staging, name: str, open_archive: OpenArchive) -> None:
    # These folders must exist even if the backup has no file for them.
    staging.models.mkdir(parents=True)
    if staging.uploads is not None:
        staging.uploads.new.mkdir(parents=True)
    with open_archive("Restoring") as file:
        read_archive(file, name=name, open_target=staging.open)
    for replacement in staging.replacements:
        if replacement.new.exists():
            inherit_owner(replacement.new)


def _prepare_sqlite(staging: _Staging) -> None:
    if staging.sqlite is None:
        return
    check_sqlite(staging.sqlite.new)
    # A backup has only hashes of passwords: the account gets the password that `drape up` logs in with here.
    password = Secrets(staging.sources.data / "secrets").make("label-studio-password")
    set_password(staging.sqlite.new, email=EMAIL, password=password)


def _write_redis(staging: _Staging) -> int:
    with (staging.folder / STATE).open() as lines:
        if staging.sources.own_redis:
            with own_redis(staging.redis.new) as redis:
                return write_state(redis, lines)
        with Redis.from_url(staging.sources.settings.redis_address) as redis, redis_errors():
            return write_state(redis, lines)
