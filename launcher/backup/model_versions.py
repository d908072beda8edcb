"""Model versions as files, wherever they lie: what a backup copies of them, and how it is put back, whole.

In a backup they are laid out as in a folder of this machine's own; a storage's archives of folders are unpacked in it.
So what was kept of the one can be put back into the other.
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
from backend.storage.retry import insistently
from backend.storage.store import Folder, Storage, StoredObject, storage_of
from launcher.backup.archive import ArchiveWriter
from launcher.backup.replace_files import Replacement, as_its_surroundings
from launcher.errors import LauncherError

# Each folder below it is one export, which a storage keeps as one archive.
EXPORTS = "exports"
Opened = list[tuple[str, IO[bytes]]]


class Versions(Protocol):
    """Every version of every project; for those in a storage all methods raise `StorageError`."""

    def project_ids(self) -> list[int]:
        """Projects that have at least one version, in order."""

    def names(self, project_id: int) -> list[str]:
        """Names of a project's versions."""

    def champion(self, project_id: int) -> str | None:
        """Name of the version that the project works with; None for none, and for one that is not there."""

    def size_bytes(self) -> int:
        """Bytes that a backup will copy, about."""

    def opened(self, project_id: int, name: str) -> AbstractContextManager[Opened]:
        """A version's files, by the paths that they have in a backup: all of them, as they were at one moment.

        Raises:
            FileNotFoundError: it was removed meanwhile.
        """

    @property
    def place(self) -> Replacement | None:
        """The folder that a restore replaces; None where versions are put back by `add` and `end`."""

    def add(self, made: Registry) -> None:
        """Puts every version of `made` there; which one a project works with stays as it is."""

    def end(self, made: Registry) -> None:
        """Makes champions what they are in `made`, and then removes all that it does not have."""


def versions_of(settings: Settings, aside: Path) -> Versions:
    """The versions that the settings name.

    Args:
        aside: a folder for copies, with room for one version.

    Raises:
        LauncherError, StorageError: they are in a storage that is away.
    """
    storage = storage_of(settings)
    if storage is None:
        return OwnVersions(Registry(settings.models_path))
    # One that is not mounted would look as if it were empty.
    if isinstance(storage, Folder) and not Path(storage.url).is_dir():
        raise LauncherError(f"There is no folder {storage.url} (STORAGE_URL). Mount it; make it where it is a new one.")
    storage.folders(MODELS)
    return SharedVersions(storage, aside)


class OwnVersions:
    """Those in a folder of this machine's own, which is replaced as a whole."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def place(self) -> Replacement:
        """The registry's folder."""
        return Replacement(self._registry.root)

    def project_ids(self) -> list[int]:
        """By their folders."""
        return self._registry.project_ids()

    def names(self, project_id: int) -> list[str]:
        """Those that can be read, oldest first."""
        return [version.name for version in self._registry.versions(project_id)]

    def champion(self, project_id: int) -> str | None:
        """By the pointer."""
        champion = self._registry.champion(project_id)
        return champion.name if champion is not None else None

    def size_bytes(self) -> int:
        """By the files' sizes."""
        return sum(path.stat().st_size for version in _all(self._registry) for path in _paths(version.weights.parent))

    @contextmanager
    def opened(self, project_id: int, name: str) -> Iterator[Opened]:
        """All are opened before one is read: a version that is deleted meanwhile is read to its end."""
        root = self._registry.root
        with ExitStack() as stack:
            yield _open(_paths(root / str(project_id) / name), root, stack)

    def add(self, made: Registry) -> None:
        """They are where `place` is made new."""

    def end(self, made: Registry) -> None:
        """The old folder is gone as a whole."""


class SharedVersions:
    """Those in a storage. This machine's copies of them are not asked: they may be old."""

    place = None

    def __init__(self, storage: Storage, aside: Path) -> None:
        self._storage = storage
        self._aside = aside

    def project_ids(self) -> list[int]:
        """By the manifests."""
        return sorted({int(name.split("/")[1]) for name in self._kept(MODELS) if _is_manifest(name)})

    def names(self, project_id: int) -> list[str]:
        """By the manifests, too: what has none is no version."""
        return [name.split("/")[2] for name in self._kept(f"{MODELS}/{project_id}") if _is_manifest(name)]

    def champion(self, project_id: int) -> str | None:
        """By the pointer, as it is now."""
        name = (self._content(_pointer(project_id)) or b"").decode().strip()
        return name if name in self.names(project_id) else None

    def size_bytes(self) -> int:
        """By one listing."""
        kept = self._kept(MODELS)
        versions = {name.removesuffix(f"/{MANIFEST}") for name in kept if _is_manifest(name)}
        return sum(one.size for name, one in kept.items() if "/".join(name.split("/")[:3]) in versions)

    @contextmanager
    def opened(self, project_id: int, name: str) -> Iterator[Opened]:
        """Copies are read, of one version at a time."""
        with TemporaryDirectory(prefix=".version-", dir=self._aside) as root, ExitStack() as stack:
            folder = Path(root, str(project_id), name)
            self._fetch(f"{MODELS}/{project_id}/{name}", folder)
            yield _open(_paths(folder), Path(root), stack)

    def _fetch(self, under: str, folder: Path) -> None:
        # Who removes a version begins with its manifest. Where that is there after all else, all else was there, too.
        for name in sorted(self._kept(under), key=_is_manifest):
            target = folder / name.removeprefix(f"{under}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            for attempt in insistently():
                with attempt:
                    self._storage.fetch(name, target)
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(folder / MANIFEST)
        for archive in sorted((folder / EXPORTS).glob(f"*{PACKED}")):
            unpack(archive, archive.with_name(archive.name.removesuffix(PACKED)))
            archive.unlink()

    def add(self, made: Registry) -> None:
        """The manifest goes last: nobody sees a version before it is whole."""
        for version in _all(made):
            manifest = version.weights.with_name(MANIFEST)
            there = self._content(_name(version, MANIFEST))
            if there is not None and there != manifest.read_bytes():
                self._storage.remove(_name(version, MANIFEST))
            for name, path in sorted(_pieces(version).items(), key=lambda piece: _is_manifest(piece[0])):
                self._write(name, path)

    def end(self, made: Registry) -> None:
        """Of a version that goes the manifest goes first, and before it whatever names it."""
        wanted = {name for version in _all(made) for name in _pieces(version)}
        for project_id in made.project_ids():
            champion = made.champion(project_id)
            if champion is not None:
                self._storage.write(_pointer(project_id), f"{champion.name}\n".encode())
                wanted.add(_pointer(project_id))
        others = [name for name in self._storage.kept_under(MODELS) if name not in wanted]
        for name in sorted(others, key=lambda name: (not name.endswith(f"/{CHAMPION}"), not _is_manifest(name))):
            self._storage.remove(name)
        if isinstance(self._storage, Folder):
            # A server of NFS may not let root do so; it has not let root own them either.
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
        """What belongs to versions below a name, without what is made anew."""
        kept = {tuple(name.split("/")): one for name, one in self._storage.kept_under(under).items()}
        prepared = (PREPARED, PREPARED + PACKED)
        return {"/".join(parts): one for parts, one in kept.items() if len(parts) > 3 and parts[3] not in prepared}

    def _content(self, name: str) -> bytes | None:
        try:
            return self._storage.read(name)
        except FileNotFoundError:
            return None


def write_versions(versions: Versions, archive: ArchiveWriter) -> None:
    """Adds every version, and for each project which one it works with.

    One that is deleted meanwhile is in it as a whole, or not at all. The champion is found out before, and kept first:
    nobody may delete it.
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
    # One that is gone was followed by another.
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
    """Compares all weights with their manifests, and each pointer with the versions; how many versions there are.

    Raises:
        ModelError: weights are missing or changed.
        LauncherError: a project's current version is not there.
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
    """What is kept of a version: all but its preparation, which is made anew for the machine that it runs on."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and folder / PREPARED not in path.parents and not path.name.startswith(".")
    )


def _open(paths: list[Path], root: Path, stack: ExitStack) -> Opened:
    return [(path.relative_to(root).as_posix(), stack.enter_context(path.open("rb"))) for path in paths]


def _pieces(version: Version) -> dict[str, Path]:
    """Files of a version, and folders that are kept as one archive, by their names in a storage."""
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
