"""This machine's copies of model versions that several machines share.

`RemoteListing` lists the files in the storage. A file is fetched when it is needed, and again when it has changed.
While the storage is unreachable, this machine's copies are used.
"""

from __future__ import annotations

import logging
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from backend.errors import StorageError
from backend.registry.files import MANIFEST
from backend.registry.remote_listing import ALL, RemoteListing
from backend.storage.atomic_files import write_atomically
from backend.storage.retry import retrying_writes
from backend.storage.store import Storage, StoredObject

logger = logging.getLogger(__name__)

# A version that has been in the storage for a day without a manifest was left by a killed process.
ABANDONED_S = 86_400.0
# A copy younger than this that the listing lacks may be newer than the listing: another process may have stored it.
JUST_PUT_S = 60.0
CLAIMS, PACKED = "claims", ".tar"


class SharedFiles:
    """Files below `root`, each a copy of the object with the same path below `under/` in the storage. Thread-safe."""

    def __init__(
        self, storage: Storage, root: Path, *, under: str, report: Callable[[str], None] = logger.warning
    ) -> None:
        """`report` receives a message when the storage becomes unreachable, and when an older copy stays in use."""
        self._storage = storage
        self._root = root
        self._report = report
        self._listing = RemoteListing(storage, root, under=under, report=report)
        # Copy → modification time of its tag file in nanoseconds, and the tag.
        self._tags: dict[Path, tuple[int, str]] = {}

    def names(self, folder: Path) -> list[str]:
        """Returns the names of the folders directly below a folder."""
        parts = folder.relative_to(self._root).parts
        if not parts:
            return sorted(self._listing.kept(ALL))
        start = self._listing.name(folder) + "/"
        found = (name.removeprefix(start) for name in self._listing.kept(parts[0]) if name.startswith(start))
        return sorted({name.partition("/")[0] for name in found if "/" in name})

    def has(self, path: Path) -> bool:
        """Returns whether the storage has the file; this machine need not have a copy."""
        return self._listing.name(path) in self._listing.kept(self._listing.line(path))

    def current(self, path: Path, *, anew: bool = False) -> Path:
        """Returns the path after it has put a current copy of the stored file there.

        Raises:
            StorageError: the storage is unreachable, and there is no copy or `anew` asks for a new copy.
        """
        kept = self._listing.kept(self._listing.line(path)).get(self._listing.name(path))
        if kept is None:
            if not self._was_just_put(path):
                path.unlink(missing_ok=True)
        elif anew or not (self._is_known(path, kept) and path.is_file()):
            self._fetch(path, kept, anew=anew, placed=lambda half: half.replace(path), is_here=path.is_file)
        return path

    def current_folder(self, folder: Path) -> Path:
        """Does the same for a folder, which the storage holds as one archive, so that it never mixes two folders."""
        packed = _packed(folder)
        kept = self._listing.kept(self._listing.line(packed)).get(self._listing.name(packed))
        if kept is None:
            if not self._was_just_put(packed):
                shutil.rmtree(folder, ignore_errors=True)
        elif not (self._is_known(packed, kept) and folder.is_dir()):
            self._fetch(packed, kept, anew=False, placed=lambda half: _unpack(half, folder), is_here=folder.is_dir)
        return folder

    def put(self, path: Path, content: str, *, durable: bool = False) -> None:
        """Writes the file to the storage first, so that a file with a copy here is always in the storage, too."""
        encoded = content.encode()
        kept = self._storage.write(self._listing.name(path), encoded)
        with self._alone(path):
            self._forget(path)
            write_atomically(path, encoded)
            self._know(path, kept)
        self._listing.wrote(path, kept)

    def put_folder(self, made: Path, folder: Path, *, first: bool = False) -> None:
        """Packs the folder, uploads the archive, and moves the folder to its place."""
        packed = _packed(folder)
        name = self._listing.name(packed)
        with tempfile.TemporaryDirectory(prefix=".packed-", dir=made.parent) as aside:
            archive = Path(aside, packed.name)
            pack(made, archive)
            if not first:
                kept = self._storage.write(name, archive)
            elif self._storage.create(name, archive.read_bytes()):
                kept = self._storage.list_under(self._listing.name(folder.parent))[name]
            else:
                self.look_anew(self._root / self._listing.line(folder))
                self.current_folder(folder)
                return
        with self._alone(packed):
            self._forget(packed)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
            self._know(packed, kept)
        self._listing.wrote(packed, kept)

    @contextmanager
    def locked(self, line: Path) -> Iterator[None]:
        """Locks out this machine's other processes, then lists the storage to see what other machines did."""
        line.mkdir(parents=True, exist_ok=True)
        with FileLock(line / ".lock"):
            for attempt in retrying_writes():
                with attempt:
                    self._listing.look(line.name)
            yield

    def next_number(self, line: Path, *, last: int) -> int:
        """Claims the first number that no machine has claimed; the number of a killed process stays unused."""
        claims = f"{self._listing.name(line)}/{CLAIMS}/"
        kept = self._listing.kept(line.name)
        self._clear(line, kept)
        number = max([last, *(int(name.removeprefix(claims)) for name in kept if name.startswith(claims))]) + 1
        while not self._storage.create(f"{claims}{number}", b""):
            number += 1
        return number

    def add(self, made: Path, folder: Path) -> None:
        """Uploads the version's files, the manifest last, and moves the version to its place on this machine."""
        sent = {}
        for path in sorted(made.iterdir(), key=lambda path: path.name == MANIFEST):
            sent[path.name] = self._storage.write(self._listing.name(folder / path.name), path)
        made.rename(folder)
        for name, kept in sent.items():
            self._know(folder / name, kept)
            self._listing.wrote(folder / name, kept)

    def remove(self, folder: Path, *, is_needed: Callable[[], bool]) -> bool:
        """Removes the manifest first, and restores it if another machine has made the version the champion."""
        line, manifest = folder.parent, folder / MANIFEST
        content = self.current(manifest).read_bytes()
        self._storage.remove(self._listing.name(manifest))
        self.look_anew(line)
        if is_needed():
            self._listing.wrote(manifest, self._storage.write(self._listing.name(manifest), content))
            return False
        for name in self._storage.list_under(self._listing.name(folder)):
            self._storage.remove(name)
        self.look_anew(line)
        shutil.rmtree(folder, ignore_errors=True)
        return True

    def look_anew(self, line: Path) -> None:
        """Lists the line in the storage now; if the storage is unreachable, reports that and uses the last listing."""
        self._listing.look_anew(line.name)

    def _fetch(
        self,
        path: Path,
        kept: StoredObject,
        *,
        anew: bool,
        placed: Callable[[Path], object],
        is_here: Callable[[], bool],
    ) -> None:
        with self._alone(path):
            if not anew and self._is_known(path, kept) and is_here():
                return  # Another process has fetched it.
            with tempfile.TemporaryDirectory(prefix=".fetched-", dir=path.parent) as aside:
                half = Path(aside, path.name)
                try:
                    self._storage.fetch(self._listing.name(path), half)
                except FileNotFoundError:
                    return  # Removed since it was listed.
                except StorageError as e:
                    if anew or not is_here():
                        raise
                    self._report(f"{e} An older copy of {path.name} goes on being used.")
                    return
                self._forget(path)
                placed(half)
                self._know(path, kept)

    def _clear(self, line: Path, kept: Mapping[str, StoredObject]) -> None:
        """Removes uploads that have had no manifest for a day: the processes that made them were killed."""
        versions = {name.removesuffix(f"/{MANIFEST}") for name in kept if name.endswith(f"/{MANIFEST}")}
        for name, one in kept.items():
            version = "/".join(name.split("/")[: len(self._listing.name(line).split("/")) + 1])
            is_other = version == name or version.endswith(f"/{CLAIMS}") or version in versions
            if not is_other and time.time() - one.written_at > ABANDONED_S:
                self._storage.remove(name)

    def _is_known(self, path: Path, kept: StoredObject) -> bool:
        """Returns whether the tag of this machine's copy matches `kept`; the copy itself may be missing."""
        note = _note(path)
        try:
            # Another process may have fetched a newer copy and written its tag.
            noted_at = note.stat().st_mtime_ns
            known = self._tags.get(path)
            if known is None or known[0] != noted_at:
                known = self._tags[path] = noted_at, note.read_text()
        except OSError:
            return False
        return known[1] == kept.tag

    def _know(self, path: Path, kept: StoredObject) -> None:
        write_atomically(_note(path), kept.tag)

    def _forget(self, path: Path) -> None:
        """Deletes a copy's tag before the copy is replaced, so that the old tag never describes the new content."""
        _note(path).unlink(missing_ok=True)

    def _was_just_put(self, path: Path) -> bool:
        try:
            return time.time() - _note(path).stat().st_mtime < JUST_PUT_S
        except OSError:
            return False

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield


def pack(folder: Path, archive: Path) -> None:
    """Packs a folder into the one archive that the storage holds for it."""
    with tarfile.open(archive, "w") as file:
        file.add(folder, arcname=".")


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks an archive that `pack` made into a folder."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")


def _packed(folder: Path) -> Path:
    return folder.with_name(folder.name + PACKED)


def _note(path: Path) -> Path:
    """Returns the path of the tag file, which records the content of a copy."""
    return path.with_name(f".{path.name}.tag")


def _unpack(archive: Path, folder: Path) -> None:
    half = archive.with_name(folder.name)
    unpack(archive, half)
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)
