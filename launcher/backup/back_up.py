"""Writes everything that Drape and Label Studio store into one file, while they run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from launcher.backup.archive import ArchiveWriter, BackupManifest, PartName, create_archive
from launcher.backup.model_versions import open_models, size_bytes, write_versions
from launcher.backup.redis_state import read_state
from launcher.backup.sources import BackupSources, connect_to_redis
from launcher.errors import LauncherError

STATE = "state.jsonl"
OnBytes = Callable[[int], None]


def back_up(sources: BackupSources, file: Path, *, on_total: OnBytes, on_progress: OnBytes) -> BackupManifest:
    """Writes a backup into `file`, which is complete afterwards, or does not exist.

    Jobs are read first and models last. So jobs that end meanwhile run again after a restore instead of being lost, and
    the backup has every model that Label Studio names. Uploads are read after the database that names them.

    Args:
        on_total: is called once, with the approximate number of bytes in all.
        on_progress: is called with the number of bytes of each chunk that was written.

    Raises:
        LauncherError: a source does not exist, or the disk is full; the incomplete file is then deleted.
        QueueError: Redis does not answer.
        StorageError: the models are in a storage that is unreachable.
    """
    made_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with _temporary_folder(file) as folder:
        models = open_models(sources.settings, folder)
        with connect_to_redis(sources) as redis, (folder / STATE).open("w") as state:
            state.writelines(f"{line}\n" for line in read_state(redis))
        copy = None
        if sources.database is not None:
            copy = folder / sources.database.copy_name
            sources.database.save(copy)
        files = [path for path in (folder / STATE, copy, *_uploads(sources)) if path is not None]
        on_total(sum(path.stat().st_size for path in files) + size_bytes(models))
        with create_archive(file, on_progress) as archive:
            _add(archive, "redis", folder / STATE)
            if copy is not None:
                _add(archive, "database", copy)
                _add_uploads(archive, sources)
            write_versions(models, archive)
            return archive.end(
                drape=version("drape"),
                label_studio=sources.studio_release,
                made_at=made_at,
                database=sources.database_kind,
            )


@contextmanager
def _temporary_folder(file: Path) -> Iterator[Path]:
    """A temporary folder for copies, beside the archive: on a disk with room, and readable only by its owner."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".backup-", dir=file.parent) as folder:
            yield Path(folder)
    except OSError as e:
        raise LauncherError(f"{file} cannot be written: {e.strerror or e}. The incomplete file is deleted.") from e


def _add(archive: ArchiveWriter, part: PartName, path: Path) -> None:
    with path.open("rb") as file:
        archive.add(part, path.name, file)


def _add_uploads(archive: ArchiveWriter, sources: BackupSources) -> None:
    archive.begin("uploads")
    for path in _uploads(sources):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            # Deleted since the folder was listed.
            continue
        with file:
            archive.add("uploads", path.relative_to(sources.uploads or path).as_posix(), file)


def _uploads(sources: BackupSources) -> Iterator[Path]:
    if sources.uploads is not None:
        yield from (path for path in sources.uploads.rglob("*") if path.is_file() and not path.is_symlink())
