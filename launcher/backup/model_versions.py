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
from launcher.backup.replace_files import Replacement, as_its_surroundings
from launcher.errors import LauncherError

# Each folder below this one is one export, which a storage holds as one archive.
EXPORTS = "exports"
Opened = list[tuple[str, IO[bytes]]]


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

    def opened(self, project_id: int, name: str) -> AbstractContextManager[Opened]:
        """Opens all of a version's files, as they were at one moment, with their paths in a backup.

        Raises:
            FileNotFoundError: the version was removed meanwhile.
        """

    @property
    def place(self) -> Replacement | None:
        """The folder that a restore replaces; None if `add` and `end` restore the versions."""

    def add(self, made: Registry) -> None:
        """Stores every version of `made`; each project keeps its champion."""

    def end(self, made: Registry) -> None:
        """Sets the champions as in `made`, and then removes everything that `made` does not have."""


def versions_of(settings: Settings, aside: Path) -> Versions:
    """The versions in the folder or the storage that the settings name.

    Args:
        aside: a folder for copies, with room for one version.

    Raises:
        LauncherError, StorageError: the versions are in a storage that is unreachable.
    """
    storage = open_storage(settings)
    if storage is None:
        return OwnVersions(Registry(settings.models_path))
    # A folder that is not mounted would look like an empty storage.
    if isinstance(storage, Folder) and not Path(storage.url).is_dir():
        raise LauncherError(f"There is no folder {storage.url} (STORAGE_URL). Mount it; make it where it is a new one.")
    storage.folders(MODELS)
    return SharedVersions(storage, aside)


class OwnVersions:
    """Versions in a local folder, which a restore replaces as a whole."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def place(self) -> Replacement:
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
        return sum(path.stat().st_size for version in _all(self._registry) for path in _paths(version.weights.parent))

    @contextmanager
    def opened(self, project_id: int, name: str) -> Iterator[Opened]:
        """Opens all files before any is read: a version that is deleted meanwhile can still be read to its end."""
        root = self._registry.root
        with ExitStack() as stack:
            yield _open(_paths(root / str(project_id) / name), root, stack)

    def add(self, made: Registry) -> None:
        """Does nothing: the versions are in the folder that replaces `place`."""

    def end(self, made: Registry) -> None:
        """Does nothing: the old folder was replaced as a whole."""


class SharedVersions:
    """Versions in a storage. This machine's copies of them are not read, because they may be outdated."""

    place = None

    def __init__(self, storage: Storage, aside: Path) -> None:
        self._storage = storage
        self._aside = aside

    def project_ids(self) -> list[int]:
        """Reads the ids from the names of the manifests."""
        return sorted({int(name.split("/")[1]) for name in self._kept(MODELS) if _is_manifest(name)})

    def names(self, project_id: int) -> list[str]:
        """Names of the folders with a manifest: without a manifest, a folder is not a version."""
        return [name.split("/")[2] for name in self._kept(f"{MODELS}/{project_id}") if _is_manifest(name)]

    def champion(self, project_id: int) -> str | None:
        """Reads the champion's pointer as it is now."""
        name = (self._content(_pointer(project_id)) or b"").decode().strip()
        return name if name in self.names(project_id) else None

    def size_bytes(self) -> int:
        """Adds up the sizes in one listing of the storage."""
        kept = self._kept(MODELS)
        versions = {name.removesuffix(f"/{MANIFEST}") for name in kept if _is_manifest(name)}
        return sum(one.size for name, one in kept.items() if "/".join(name.split("/")[:3]) in versions)

    @contextmanager
    def opened(self, project_id: int, name: str) -> Iterator[Opened]:
        """Fetches the version into a temporary folder, and opens the copies; for one version at a time."""
        with TemporaryDirectory(prefix=".version-", dir=self._aside) as root, ExitStack() as stack:
            folder = Path(root, str(project_id), name)
            self._fetch(f"{MODELS}/{project_id}/{name}", folder)
            yield _open(_paths(folder), Path(root), stack)

    def _fetch(self, under: str, folder: Path) -> None:
        # A removal deletes the manifest first. So if the manifest, fetched last, was still there, all files were.
        for name in sorted(self._kept(under), key=_is_manifest):
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

    def add(self, made: Registry) -> None:
        """Writes each version's manifest last: nobody sees a version before it is complete."""
        for version in _all(made):
            manifest = version.weights.with_name(MANIFEST)
            there = self._content(_name(version, MANIFEST))
            if there is not None and there != manifest.read_bytes():
                self._storage.remove(_name(version, MANIFEST))
            for name, path in sorted(_pieces(version).items(), key=lambda piece: _is_manifest(piece[0])):
                self._write(name, path)

    def end(self, made: Registry) -> None:
        """Removes pointers first, then manifests, then the other files, so that nobody sees a part of a version."""
        wanted = {name for version in _all(made) for name in _pieces(version)}
        for project_id in made.project_ids():
            champion = made.champion(project_id)
            if champion is not None:
                self._storage.write(_pointer(project_id), f"{champion.name}\n".encode())
                wanted.add(_pointer(project_id))
        others = [name for name in self._storage.list_under(MODELS) if name not in wanted]
        for name in sorted(others, key=lambda name: (not name.endswith(f"/{CHAMPION}"), not _is_manifest(name))):
            self._storage.remove(name)
        if isinstance(self._storage, Folder):
            # An NFS server may refuse this to root; then root does not own the files either.
            with suppress(OSError):
                as_its_surroundings(Path(self._storage.url, MODELS))

    def _write(self, name: str, path: Path) -> None:
        if path.is_file():
            self._storage.write(name, path)
            return
        with TemporaryDirectory(prefix=".packed-", dir=self._aside) as aside:
            archive = Path(aside, path.name + PACKED)
            pack(path, archive)
            self._storage.write(name, archive)

    def _kept(self, under: str) -> dict[str, StoredObject]:
        """The files of versions below a name, without the preparation, which each machine can make again."""
        kept = {tuple(name.split("/")): one for name, one in self._storage.list_under(under).items()}
        prepared = (PREPARED, PREPARED + PACKED)
        return {"/".join(parts): one for parts, one in kept.items() if len(parts) > 3 and parts[3] not in prepared}

    def _content(self, name: str) -> bytes | None:
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
            files = stack.enter_context(versions.opened(project_id, name))
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
    for version in _all(registry):
        check_weights(version)
    for project_id in registry.project_ids():
        if (registry.root / str(project_id) / CHAMPION).exists() and registry.champion(project_id) is None:
            raise LauncherError(f"The current model of project {project_id} is not in the backup.")
    return len(list(_all(registry)))


def _all(registry: Registry) -> Iterator[Version]:
    for project_id in registry.project_ids():
        yield from registry.versions(project_id)


def _paths(folder: Path) -> list[Path]:
    """The files of a version that a backup holds: all but its preparation, which each machine makes for itself."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and folder / PREPARED not in path.parents and not path.name.startswith(".")
    )


def _open(paths: list[Path], root: Path, stack: ExitStack) -> Opened:
    return [(path.relative_to(root).as_posix(), stack.enter_context(path.open("rb"))) for path in paths]


def _pieces(version: Version) -> dict[str, Path]:
    """A version's files, and its folders that a storage holds as one archive, by their names in a storage."""
    folder, pieces = version.weights.parent, dict[str, Path]()
    for path in _paths(folder):
        first, *deeper = path.relative_to(folder).parts
        if first == EXPORTS and len(deeper) > 1:
            pieces[_name(version, f"{EXPORTS}/{deeper[0]}{PACKED}")] = folder / EXPORTS / deeper[0]
        else:
            pieces[_name(version, "/".join([first, *deeper]))] = path
    return pieces


def _name(version: Version, path: str) -> str:
    return f"{MODELS}/{version.project_id}/{version.name}/{path}"


def _pointer(project_id: int) -> str:
    return f"{MODELS}/{project_id}/{CHAMPION}"


def _is_manifest(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 4 and parts[1].isdigit() and NAME.fullmatch(parts[2]) is not None and parts[3] == MANIFEST
