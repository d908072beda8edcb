"""One file with all that Drape and Label Studio keep, made while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from launcher.backup.archive import ArchiveWriter, BackupManifest, DatabaseKind, PartName, writing
from launcher.backup.label_studio_database import PostgresDatabase, SqliteDatabase
from launcher.backup.model_versions import versions_of, write_versions
from launcher.backup.redis_state import read_state
from launcher.backup.sources import BackupSources, redis_to_read
from launcher.errors import LauncherError

STATE, SQLITE, DUMP = "state.jsonl", "label_studio.sqlite3", "label_studio.dump"
Told = Callable[[int], None]


def back_up(sources: BackupSources, file: Path, *, expected: Told, told: Told) -> BackupManifest:
    """Writes all of it into `file`, which is there afterwards, whole, or not at all.

    Jobs come first, and models last: what is done meanwhile is done again after a restore, and not lost; and models
    that Label Studio names are there. What is uploaded comes after the database that names it.

    Args:
        expected: is called once, with about how many bytes there are.
        told: is called with the bytes that were written of each piece.

    Raises:
        LauncherError: something is not there, or the disk is full; nothing is left of the file then.
        QueueError: Redis is away.
        StorageError: the models are in a storage, which is away.
    """
    made_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with _beside(file) as folder:
        versions = versions_of(sources.settings, folder)
        with redis_to_read(sources) as redis, (folder / STATE).open("w") as state:
            state.writelines(f"{line}\n" for line in read_state(redis))
        copy = _database(sources, folder)
        sizes = [path.stat().st_size for path in (folder / STATE, copy) if path is not None]
        expected(sum(sizes) + versions.size_bytes() + sum(path.stat().st_size for path in _uploads(sources)))
        with writing(file, told) as archive:
            _add(archive, "redis", folder / STATE)
            if copy is not None:
                _add(archive, "database", copy)
                _add_uploads(archive, sources)
            write_versions(versions, archive)
            return archive.end(
                drape=version("drape"), label_studio=sources.studio_release, made_at=made_at, database=kind_of(sources)
            )


def kind_of(sources: BackupSources) -> DatabaseKind:
    """What Label Studio keeps its data in."""
    match sources.database:
        case SqliteDatabase():
            return "sqlite"
        case PostgresDatabase():
            return "postgresql"
        case _:
            return "none"


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """A folder for copies, where the archive will lie: there is room, and nobody else reads there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".backup-", dir=file.parent) as folder:
            yield Path(folder)
    except OSError as e:
        raise LauncherError(f"{file} cannot be written: {e.strerror or e}. Nothing of it is left.") from e


def _database(sources: BackupSources, folder: Path) -> Path | None:
    match sources.database:
        case None:
            return None
        case SqliteDatabase() as database:
            copy = folder / SQLITE
        case PostgresDatabase() as database:
            copy = folder / DUMP
    database.save(copy)
    return copy


def _add(archive: ArchiveWriter, part: PartName, path: Path) -> None:
    with path.open("rb") as file:
        archive.add(part, path.name, file)


def _add_uploads(archive: ArchiveWriter, sources: BackupSources) -> None:
    archive.begin("uploads")
    for path in _uploads(sources):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            # Deleted meanwhile.
            continue
        with file:
            archive.add("uploads", path.relative_to(sources.uploads or path).as_posix(), file)


def _uploads(sources: BackupSources) -> Iterator[Path]:
    if sources.uploads is not None:
        yield from (path for path in sources.uploads.rglob("*") if path.is_file() and not path.is_symlink())
