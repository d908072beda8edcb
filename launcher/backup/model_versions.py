"""Model versions as files, in a local folder or in a storage: what a backup copies, and how a restore puts it back.

A backup has the layout of a local folder; folders that a storage holds as archives are unpacked in it. So a backup of
the one can be restored into the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Protocol

from backend.detector.preparation import PREPARED
from backend.registry.files import MANIFEST
from backend.registry.registry import CHAMPION, MODELS, NAME, Registry, Version, check_weights
from backend.registry.shared_files import PACKED, pack, unpack
from backend.settings import Settings
from backend.storage.retry import retrying_writes
from backend.storage.store import Folder, Storage, StoredObject, open_storage
from launcher.backup.archive import ArchiveWriter
from launcher.backup.replace_files import Replacement, inherit_owner
from launcher.errors import LauncherError

# Each folder below this one is one export, which a storage holds as one archive.
EXPORTS = "exports"
# Path in the backup and open file, of each file of a version.
OpenFiles = list[tuple[str, IO[bytes]]]


class Versions(Protocol):
    """Every version of every project. If the versions are in a storage, every method may raise `StorageError`."""

    def project_ids(self) -> list[int]:
        """Ids of the projects that have at least one version, in order."""

    def names(self, project_id: int) -> list[str]:
        """Names of a project's versions."""

    def champion(self, project_id: int) -> str | None:
        """Name of the project's champion; None if it has none, or if that version does not exist."""

    def size_bytes(self) -> int:
        """Approximate number of bytes that a backup will copy."""

    def open_files(self, project_id: int, name: str) -> AbstractContextManager[OpenFiles]:
        """Opens all of a version's files, as they were at one moment, with their paths in a backup.

        Raises:
            FileNotFoundError: the version was removed meanwhile.
        """

    @property
    def replacement(self) -> Replacement | None:
        """The folder that a restore replaces; None if `add` and `finish` restore the versions."""

    def add(self, restored: Registry) -> None:
        """Stores every version of `restored`; each project keeps its champion."""

    def finish(self, restored: Registry) -> None:
        """Sets the champions as in `restored`, and then removes everything that `restored` does not have."""


def versions_of(settings: Settings, temporary: Path) -> Versions:
    """The versions in the folder or the storage that the settings name.

    Args:
        temporary: a folder for copies, with room for one version.

    Raises:
        LauncherError, StorageError: the versions are in a storage that is unreachable.
    """
    storage = open_storage(settings)
    if storage is None:
        return LocalVersions(Registry(settings.models_path))
    # A folder that is not mounted would look like an empty storage.
    if isinstance(storage, Folder) and not Path(storage.url).is_dir():
        raise LauncherError(f"There is no folder {storage.url} (STORAGE_URL). Mount it, or create it if it is new.")
    storage.folders(MODELS)
    return SharedVersions(storage, temporary)


class LocalVersions:
    """Versions in a local folder, which a restore replaces as a whole."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def replacement(self) -> Replacement:
        """The registry's folder."""
        return Replacement(self._registry.root)

    def project_ids(self) -> list[int]:
        """Reads the ids from the names of the folders."""
        return self._registry.project_ids()

    def names(self, project_id: int) -> list[str]:
        """Names of the versions that can be read, oldest first."""
        return [version.name for version in self._registry.versions(project_id)]

    def champion(self, project_id: int) -> str | None:
        """Reads the champion's pointer."""
        champion = self._registry.champion(project_id)
        return champion.name if champion is not None else None

    def size_bytes(self) -> int:
        """Adds up the sizes of the files."""
        folders = [version.weights.parent for version in _all_versions(self._registry)]
        return sum(path.stat().st_size for folder in folders for path in _files_in(folder))

    @contextmanager
    def open_files(self, project_id: int, name: str) -> Iterator[OpenFiles]:
        """Opens all files before any is read: a version that is deleted meanwhile can still be read to its end."""
        root = self._registry.root
        with ExitStack() as stack:
            yield _open(_files_in(root / str(project_id) / name), root, stack)

    def add(self, restored: Registry) -> None:
        """Does nothing: the versions are in the folder of `replacement`."""

    def finish(self, restored: Registry) -> None:
        """Does nothing: the old folder was replaced as a whole."""


class SharedVersions:
    """Versions in a storage. This machine's copies of them are not read, because they may be outdated."""

    replacement = None

    def __init__(self, storage: Storage, temporary: Path) -> None:
        self._storage = storage
        self._temporary = temporary

    def project_ids(self) -> list[int]:
        """Reads the ids from the names of the manifests."""
        return sorted({int(name.split("/")[1]) for name in self._list(MODELS) if _is_manifest(name)})

    def names(self, project_id: int) -> list[str]:
        """Names of the folders with a manifest: without a manifest, a folder is not a version."""
        return [name.split("/")[2] for name in self._list(f"{MODELS}/{project_id}") if _is_manifest(name)]

    def champion(self, project_id: int) -> str | None:
        """Reads the champion's pointer as it is now."""
        name = (self._read(_champion_name(project_id)) or b"").decode().strip()
        return name if name in self.names(project_id) else None

    def size_bytes(self) -> int:
        """Adds up the sizes in one listing of the storage."""
        objects = self._list(MODELS)
        versions = {name.removesuffix(f"/{MANIFEST}") for name in objects if _is_manifest(name)}
        return sum(stored.size for name, stored in objects.items() if "/".join(name.split("/")[:3]) in versions)

    @contextmanager
    def open_files(self, project_id: int, name: str) -> Iterator[OpenFiles]:
        """Fetches the version into a temporary folder, and opens the copies; for one version at a time."""
        with TemporaryDirectory(prefix=".version-", dir=self._temporary) as root, ExitStack() as stack:
            folder = Path(root, str(project_id), name)
            self._fetch(f"{MODELS}/{project_id}/{name}", folder)
            yield _open(_files_in(folder), Path(root), stack)

    def _fetch(self, under: str, folder: Path) -> None:
        # A removal deletes the manifest first. So if the manifest, fetched last, was still there, all files were.
        for name in sorted(self._list(under), key=_is_manifest):
            target = folder / name.removeprefix(f"{under}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            for attempt in retrying_writes():
                with attempt:
                    self._storage.fetch(name, target)
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(folder / MANIFEST)
        for archive in sorted((folder / EXPORTS).glob(f"*{PACKED}")):
            unpack(archive, archive.with_name(archive.name.removesuffix(PACKED)))
            archive.unlink()

    def add(self, restored: Registry) -> None:
        """Writes each version's manifest last: nobody sees a version before it is complete."""
        for version in _all_versions(restored):
            manifest = version.weights.with_name(MANIFEST)
            present = self._read(_object_name(version, MANIFEST))
            if present is not None and present != manifest.read_bytes():
                self._storage.remove(_object_name(version, MANIFEST))
            for name, path in sorted(_objects(version).items(), key=lambda entry: _is_manifest(entry[0])):
                self._write(name, path)

    def finish(self, restored: Registry) -> None:
        """Removes pointers first, then manifests, then the other files, so that nobody sees a part of a version."""
        expected = {name for version in _all_versions(restored) for name in _objects(version)}
        for project_id in restored.project_ids():
            champion = restored.champion(project_id)
            if champion is not None:
                self._storage.write(_champion_name(project_id), f"{champion.name}\n".encode())
                expected.add(_champion_name(project_id))
        obsolete = [name for name in self._storage.list_under(MODELS) if name not in expected]
        for name in sorted(obsolete, key=lambda name: (not name.endswith(f"/{CHAMPION}"), not _is_manifest(name))):
            self._storage.remove(name)
        if isinstance(self._storage, Folder):
            # An NFS server may refuse this to root; then root does not own the files either.
            with suppress(OSError):
                inherit_owner(Path(self._storage.url, MODELS))

    def _write(self, name: str, path: Path) -> None:
        if path.is_file():
            self._storage.write(name, path)
            return
        with TemporaryDirectory(prefix=".packed-", dir=self._temporary) as folder:
            archive = Path(folder, path.name + PACKED)
            pack(path, archive)
            self._storage.write(name, archive)

    def _list(self, under: str) -> dict[str, StoredObject]:
        """The files of versions below a name, without the preparation, which each machine can make again."""

        def belongs(name: str) -> bool:
            parts = name.split("/")
            return len(parts) > 3 and parts[3] not in (PREPARED, PREPARED + PACKED)

        return {name: stored for name, stored in self._storage.list_under(under).items() if belongs(name)}

    def _read(self, name: str) -> bytes | None:
        try:
            return self._storage.read(name)
        except FileNotFoundError:
            return None


def write_versions(versions: Versions, archive: ArchiveWriter) -> None:
    """Adds every version, and the name of each project's champion, to an archive.

    A version that is deleted meanwhile is in the archive completely or not at all. The champion is looked up and added
    first, because nobody may delete it.
    """
    archive.begin("models")
    for project_id in versions.project_ids():
        champion = _write_champion(versions, project_id, archive)
        for name in versions.names(project_id):
            if name != champion:
                _write_version(versions, project_id, name, archive)
        if champion is not None:
            archive.add_text("models", f"{project_id}/{CHAMPION}", champion + "\n")


def _write_champion(versions: Versions, project_id: int, archive: ArchiveWriter) -> str | None:
    # If the champion is gone, another version has become the champion.
    while (name := versions.champion(project_id)) is not None:
        if _write_version(versions, project_id, name, archive):
            return name
    return None


def _write_version(versions: Versions, project_id: int, name: str, archive: ArchiveWriter) -> bool:
    with ExitStack() as stack:
        try:
            files = stack.enter_context(versions.open_files(project_id, name))
        except FileNotFoundError:
            return False
        for path, file in files:
            archive.add("models", path, file)
    return bool(files)


def check_versions(registry: Registry) -> int:
    """Compares all weights with their manifests, and each pointer with the versions; returns the number of versions.

    Raises:
        ModelError: weights are missing or changed.
        LauncherError: a project's current version does not exist.
    """
    versions = list(_all_versions(registry))
    for version in versions:
        check_weights(version)
    for project_id in registry.project_ids():
        if (registry.root / str(project_id) / CHAMPION).exists() and registry.champion(project_id) is None:
            raise LauncherError(f"The current model of project {project_id} is not in the backup.")
    return len(versions)


def _all_versions(registry: Registry) -> Iterator[Version]:
    for project_id in registry.project_ids():
        yield from registry.versions(project_id)


def _files_in(folder: Path) -> list[Path]:
    """The files of a version that a backup holds: all but its preparation, which each machine makes for itself."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and folder / PREPARED not in path.parents and not path.name.startswith(".")
    )


def _open(paths: list[Path], root: Path, stack: ExitStack) -> OpenFiles:
    return [(path.relative_to(root).as_posix(), stack.enter_context(path.open("rb"))) for path in paths]


def _objects(version: Version) -> dict[str, Path]:
    """A version's files, and its folders that a storage holds as one archive, by their names in a storage."""
    folder, objects = version.weights.parent, dict[str, Path]()
    for path in _files_in(folder):
        parts = path.relative_to(folder).parts
        if parts[0] == EXPORTS and len(parts) > 2:
            objects[_object_name(version, f"{EXPORTS}/{parts[1]}{PACKED}")] = folder / EXPORTS / parts[1]
        else:
            objects[_object_name(version, "/".join(parts))] = path
    return objects


def _object_name(version: Version, path: str) -> str:
    return f"{MODELS}/{version.project_id}/{version.name}/{path}"


def _champion_name(project_id: int) -> str:
    return f"{MODELS}/{project_id}/{CHAMPION}"


def _is_manifest(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 4 and parts[1].isdigit() and NAME.fullmatch(parts[2]) is not None and parts[3] == MANIFEST
