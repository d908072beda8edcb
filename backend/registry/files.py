"""The files of model versions, each stored under the hash of its content, which therefore never changes.

A file lies at `<project>/<version>/<first digits of the SHA-256>/<file name>`: in a storage that machines share and, as
this machine's copy, below a folder. If only this machine uses the versions, both are the same file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from backend.errors import ModelError
from backend.registry.index import Index, Indexes, delete_copies
from backend.storage.atomic_files import staging_folder, sync
from backend.storage.store import Folder, Storage

MANIFEST = "manifest.json"
WEIGHTS = "weights.pt"
# An exported network of another architecture than YOLO: its layers, and its weights.
NETWORK, NETWORK_WEIGHTS = "network.xml", "weights.bin"
# Enough digits to tell the contents of one file apart; `fetch` compares all of them.
FOLDER_DIGITS = 16


@dataclass(frozen=True)
class ModelFiles:
    """The files of all versions.

    Attributes:
        prefix: beginning of their names in the storage; empty, or ends with a slash.
        copies: folder of this machine's copies.
    """

    storage: Storage
    indexes: Indexes
    copies: Path
    prefix: str = ""

    def location(self, project_id: int, version: str, path: str, digest: str) -> str:
        """Returns where a file lies, relative to `prefix` and to `copies`."""
        return f"{project_id}/{version}/{digest[:FOLDER_DIGITS]}/{path.rpartition('/')[2]}"

    def store(self, project_id: int, version: str, contents: Mapping[str, bytes | Path]) -> dict[str, str]:
        """Stores files, which nobody sees before an index names them, and returns path → SHA-256.

        Raises:
            StorageError: the storage is unreachable, or refuses a file, for example because its disk is full.
        """
        digests = {}
        for path, content in contents.items():
            digests[path] = sha256_of(content)
            self.storage.write(self.prefix + self.location(project_id, version, path, digests[path]), content)
        return digests

    def fetch(self, project_id: int, version: str, path: str, digest: str) -> Path:
        """Returns the path of this machine's copy, which is compared with its hash, and fetched if missing or damaged.

        Raises:
            FileNotFoundError: the file was removed.
            ModelError: the stored file was changed.
            StorageError: the file is not on this machine, and the storage is unreachable.
        """
        location = self.location(project_id, version, path, digest)
        copy = self.copies / location
        if not copy.is_file() or sha256_of(copy) != digest:
            with staging_folder(copy) as half:
                self.storage.fetch(self.prefix + location, half / copy.name)
                if sha256_of(half / copy.name) != digest:
                    raise ModelError(f"{path} of model version '{version}' was changed after it was stored.")
                sync(half / copy.name)
                (half / copy.name).replace(copy)
        return copy

    def clean(self, project_id: int, index: Index) -> None:
        """Deletes what is left of versions that were removed, and of additions that were broken off.

        Raises:
            StorageError: the storage is unreachable.
        """
        for name in self.storage.list_under(f"{self.prefix}{project_id}"):
            if index.is_gone(name.removeprefix(self.prefix).split("/")[1]):
                self.storage.remove(name)
        folders = {self.copies}
        if isinstance(self.storage, Folder):
            # No listing shows the files of a process that was killed while it wrote them.
            folders.add(Path(self.storage.url, self.prefix))
        for folder in folders:
            delete_copies(folder / str(project_id), index)


@dataclass(frozen=True)
class VersionFiles:
    """The files of one version, by their paths, such as `report.html`."""

    all: ModelFiles
    project_id: int
    version: str

    @property
    def folder(self) -> Path:
        """The folder of this machine's copies, which may not exist yet."""
        return self.all.copies / str(self.project_id) / self.version

    def digests(self) -> Mapping[str, str]:
        """Returns path → SHA-256 of each file.

        Raises:
            FileNotFoundError: the version was removed.
            StorageError: the storage is unreachable, and this machine does not know the project's versions.
        """
        return _files_of(self.all.indexes.read(self.project_id), self.version)

    def fetch(self, path: str) -> Path:
        """Returns the path of this machine's copy of a file; raises what `ModelFiles.fetch` raises."""
        digest = self.digests().get(path)
        if digest is None:
            raise FileNotFoundError(f"Model version {self.version} has no {path}.")
        return self.all.fetch(self.project_id, self.version, path, digest)

    def fetch_folder(self, path: str) -> Path:
        """Returns the path of this machine's copy of a folder that `put_folder` stored.

        The copy consists of links to the copies of the files. It has a place of its own for each content, so it is
        never a mixture of two.

        Raises:
            FileNotFoundError: there is no such folder.
            ModelError, StorageError: as `fetch`.
        """
        files = {name: digest for name, digest in self.digests().items() if name.startswith(f"{path}/")}
        if not files:
            raise FileNotFoundError(f"Model version {self.version} has no {path}.")
        target = self.all.copies / self.all.location(
            self.project_id, self.version, path, sha256_of(repr(sorted(files.items())).encode())
        )
        if not target.is_dir():
            with staging_folder(target) as half:
                for name, digest in files.items():
                    link = half / target.name / name.removeprefix(f"{path}/")
                    link.parent.mkdir(parents=True, exist_ok=True)
                    os.link(self.all.fetch(self.project_id, self.version, name, digest), link)
                try:
                    (half / target.name).rename(target)
                except OSError:
                    # Another process has made it meanwhile: a folder that is not empty is never replaced.
                    if not target.is_dir():
                        raise
        return target

    def put_folder(self, path: str, made: Path, *, first: bool = False) -> None:
        """Stores a folder in one step; replaces one of that name. Raises what `put` raises.

        Args:
            first: a folder that another process or machine stored before stays instead.
        """
        contents = {f"{path}/{file.relative_to(made).as_posix()}": file for file in made.rglob("*") if file.is_file()}
        self.put(contents, replaced=f"{path}/", first=first)

    def put(self, contents: Mapping[str, bytes | Path], *, replaced: str = "", first: bool = False) -> None:
        """Stores files in one step; replaces those of the same paths.

        Args:
            contents: path → content, or the file that holds it.
            replaced: beginning of the paths of other files that are replaced, too.
            first: if there are such files already, they stay instead.

        Raises:
            FileNotFoundError: the version was removed.
            ModelError: no index may name such a path, for example because it begins with a dot.
            OSError, StorageError: the files cannot be stored.
        """
        self.digests()  # Nothing is stored for a version that is gone.
        digests = self.all.store(self.project_id, self.version, contents)

        def edit(index: Index) -> Index:
            files = _files_of(index, self.version)
            before = {path for path in files if replaced and path.startswith(replaced)}
            if first and before:
                return index
            kept = {path: digest for path, digest in files.items() if path not in before}
            return replace(index, versions={**index.versions, self.version: {**kept, **digests}})

        self.all.indexes.change(self.project_id, edit)


def sha256_of(content: bytes | Path) -> str:
    """Returns the hexadecimal SHA-256 of bytes, or of a file's content.

    Raises:
        OSError: the file cannot be read.
    """
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


def _files_of(index: Index, version: str) -> Mapping[str, str]:
    if version not in index.versions:
        raise FileNotFoundError(f"Model version {version} is gone.")
    return index.versions[version]
