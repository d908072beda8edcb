"""Model versions in a backup: copied from the local folder or the storage that holds them, and put back there.

A backup has the layout of a local folder, so a backup of the one can be restored into the other. Every file is named by
the hash of its content.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from backend.detector.preparation import PREPARED
from backend.errors import ModelError
from backend.registry.files import ModelFiles, sha256_of
from backend.registry.index import INDEX, INDEX_JSON, Index, Indexes
from backend.registry.registry import MODELS, Registry
from backend.settings import Settings
from backend.storage.store import Folder, open_storage
from launcher.backup.archive import ArchiveWriter
from launcher.backup.replace_files import inherit_owner
from launcher.errors import LauncherError

logger = logging.getLogger(__name__)


def open_models(settings: Settings, temporary: Path) -> ModelFiles:
    """Opens the versions in the folder or the storage that the settings name.

    This machine's copies of a storage are not read, because the index that was saved with them may be outdated.

    Args:
        temporary: a folder for copies, with room for one version.

    Raises:
        LauncherError, StorageError: the versions are in a storage that is unreachable.
    """
    storage = open_storage(settings)
    if storage is None:
        return Registry(settings.models_path).files
    # A folder that is not mounted would look like an empty storage.
    if isinstance(storage, Folder) and not Path(storage.url).is_dir():
        raise LauncherError(f"There is no folder {storage.url} (STORAGE_URL). Mount it, or create it if it is new.")
    storage.folders(MODELS)
    prefix = f"{MODELS}/"
    return ModelFiles(storage, Indexes(storage, prefix), copies=temporary / "copies", prefix=prefix)


def are_shared(models: ModelFiles) -> bool:
    """Returns whether the versions are in a storage that several machines share."""
    return bool(models.prefix)


def size_bytes(models: ModelFiles) -> int:
    """Returns the approximate number of bytes that a backup will copy."""
    return sum(stored.size for stored in models.storage.list_under(models.prefix[:-1]).values())


def write_versions(models: ModelFiles, archive: ArchiveWriter) -> None:
    """Adds every version and each project's index to an archive.

    A version that is deleted meanwhile is in the index completely or not at all. Versions that cannot be read are
    logged and left out.

    Raises:
        OSError, StorageError: the archive cannot be written, or the storage is unreachable.
    """
    archive.begin("models")
    for project_id in models.indexes.project_ids():
        written: dict[str, dict[str, str]] = {}
        while True:
            index = models.indexes.read(project_id)
            missing = sorted(index.versions.keys() - written.keys(), key=lambda name: name != index.champion)
            if not missing:
                break
            written[missing[0]] = _write_version(models, project_id, missing[0], index, archive)
        kept = {name: written[name] for name in index.versions if written[name]}
        champion = index.champion if index.champion in kept else ""
        complete = Index(index.last_number, champion, kept)
        archive.add_text("models", f"{project_id}/{INDEX}/1.json", INDEX_JSON.dump_json(complete).decode())


def _write_version(
    models: ModelFiles, project_id: int, name: str, index: Index, archive: ArchiveWriter
) -> dict[str, str]:
    """Adds a version's files; returns path → SHA-256, or nothing if the version cannot be read."""
    # Each machine makes the preparation for itself.
    files = {path: digest for path, digest in index.versions[name].items() if not path.startswith(f"{PREPARED}/")}
    with ExitStack() as opened:
        if are_shared(models):
            opened.callback(shutil.rmtree, models.copies, ignore_errors=True)
        try:
            # All are opened before any is read: a version that is deleted meanwhile can still be read to its end.
            contents = {
                models.location(project_id, name, path, digest): opened.enter_context(
                    models.fetch(project_id, name, path, digest).open("rb")
                )
                for path, digest in files.items()
            }
        except (FileNotFoundError, ModelError) as e:
            if name in models.indexes.read(project_id).versions:
                logger.warning("Model version %s of project %s is not in the backup: %s", name, project_id, e)
            return {}
        for location, file in contents.items():
            archive.add("models", location, file)
    return files


def check_versions(restored: ModelFiles) -> int:
    """Compares all files of an unpacked backup with the indexes; returns the number of versions.

    Raises:
        ModelError: a file is missing or was changed.
        LauncherError: a project's current version is not in the backup.
    """
    for project_id, index in _indexes(restored):
        if index.champion and index.champion not in index.versions:
            raise LauncherError(f"The current model of project {project_id} is not in the backup.")
        for name, path, digest in _files(index):
            copy = restored.copies / restored.location(project_id, name, path, digest)
            if not copy.is_file() or sha256_of(copy) != digest:
                raise ModelError(f"{path} of model version '{name}' is missing from the backup, or was changed.")
    return sum(len(index.versions) for _, index in _indexes(restored))


def upload(models: ModelFiles, restored: ModelFiles) -> None:
    """Uploads the files of an unpacked backup to a storage, where nobody sees them before `finish`."""
    for project_id, index in _indexes(restored):
        for name, path, digest in _files(index):
            location = restored.location(project_id, name, path, digest)
            models.storage.write(models.prefix + location, restored.copies / location)


def finish(models: ModelFiles, restored: ModelFiles) -> None:
    """Makes the uploaded versions visible, project by project, and then deletes everything else."""
    expected = set[str]()
    for project_id, index in _indexes(restored):

        def edit(current: Index, index: Index = index) -> Index:
            # Other machines may still know versions with the numbers that the storage has given.
            return replace(index, last_number=max(index.last_number, current.last_number))

        models.indexes.change(project_id, edit)
        expected |= {models.location(project_id, *file) for file in _files(index)}
    restored_ids = {str(project_id) for project_id, _ in _indexes(restored)}
    obsolete = []
    for name in models.storage.list_under(models.prefix[:-1]):
        location = name.removeprefix(models.prefix)
        project, _, rest = location.partition("/")
        is_index = rest.startswith(f"{INDEX}/")
        if location not in expected and not (is_index and project in restored_ids):
            obsolete.append((not is_index, _number(location), name))
    # The index first, and in it the oldest file: as long as a file of it remains, the newest is read.
    for _, _, name in sorted(obsolete):
        models.storage.remove(name)
    if isinstance(models.storage, Folder):
        # An NFS server may refuse this to root; then root does not own the files either.
        with suppress(OSError):
            inherit_owner(Path(models.storage.url, MODELS))


def _number(location: str) -> int:
    stem = Path(location).stem
    return int(stem) if stem.isdecimal() else 0


def _indexes(models: ModelFiles) -> Iterator[tuple[int, Index]]:
    for project_id in models.indexes.project_ids():
        yield project_id, models.indexes.read(project_id)


def _files(index: Index) -> Iterator[tuple[str, str, str]]:
    """Yields the version, path and SHA-256 of each file."""
    for name, files in index.versions.items():
        for path, digest in files.items():
            yield name, path, digest
