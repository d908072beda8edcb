"""The file of a backup: a gzip'ed tar, whose last member (the manifest) says what the file must hold.

Members are named `<part>/<path>`. Everything is streamed, so that memory does not grow with the backup. The file holds
tokens and password hashes, so only its owner may read it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, get_args

from backend.storage.atomic_files import sync
from launcher.errors import LauncherError

PartName = Literal["redis", "database", "uploads", "models"]
DatabaseKind = Literal["sqlite", "postgresql", "none"]
# Version of the archive's layout.
FORMAT = 3
MANIFEST = "manifest.json"
# The manifest is read into memory. A longer one is cut off here, and then counts as damaged.
MAX_MANIFEST_BYTES = 1 << 20
# The fastest level: weights and photographs hardly become smaller, and a database does at any level.
COMPRESSION_LEVEL = 1
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """One part of a backup: its number of files and bytes, and the hash of their names, sizes and contents."""

    name: PartName
    files: int
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class BackupManifest:
    """What a backup holds, and which releases made it when (ISO 8601, UTC); `label_studio` is '' if unknown."""

    format: int
    drape: str
    label_studio: str
    made_at: str
    database: DatabaseKind
    parts: tuple[Part, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all parts, unpacked."""
        return sum(part.size_bytes for part in self.parts)


class _Tally:
    """Counts and hashes the files of one part."""

    def __init__(self, name: PartName) -> None:
        self.name = name
        self.files = self.size_bytes = 0
        self._hash = hashlib.sha256()

    def begin(self, path: str, size_bytes: int) -> None:
        self.files += 1
        self.size_bytes += size_bytes
        self._hash.update(f"{path}\0{size_bytes}\0".encode())

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)

    def part(self) -> Part:
        return Part(self.name, self.files, self.size_bytes, self._hash.hexdigest())


class ArchiveWriter:
    """Adds files, part by part; calls `on_progress` with the number of bytes of each chunk that it writes."""

    def __init__(self, tar: tarfile.TarFile, on_progress: Callable[[int], None]) -> None:
        self._tar = tar
        self._on_progress = on_progress
        self._tallies: dict[PartName, _Tally] = {}

    def begin(self, part: PartName) -> None:
        """Records that the archive holds the part, even if no file follows."""
        self._tallies.setdefault(part, _Tally(part))

    def add(self, part: PartName, path: str, file: IO[bytes]) -> None:
        """Adds an open file, up to its present length.

        Raises:
            OSError: the file became shorter meanwhile, or the archive cannot be written.
        """
        stat = os.fstat(file.fileno())
        self._add(part, path, file, size=stat.st_size, mtime=int(stat.st_mtime), mode=stat.st_mode & 0o777)

    def add_text(self, part: PartName, path: str, text: str) -> None:
        """Adds a small file with this content."""
        content = text.encode()
        self._add(part, path, io.BytesIO(content), size=len(content), mtime=int(time.time()), mode=0o644)

    def _add(self, part: PartName, path: str, file: IO[bytes], *, size: int, mtime: int, mode: int) -> None:
        info = tarfile.TarInfo(f"{part}/{path}")
        info.size, info.mtime, info.mode = size, mtime, mode
        self.begin(part)
        tally = self._tallies[part]
        tally.begin(path, size)
        self._tar.addfile(info, _TrackedFile(file, tally, self._on_progress))
        # Otherwise `tarfile` keeps an entry for every file in memory.
        self._tar.members = []  # type: ignore[attr-defined]

    def end(self, *, drape: str, label_studio: str, made_at: str, database: DatabaseKind) -> BackupManifest:
        """Writes the manifest, without which an archive is not valid."""
        parts = tuple(tally.part() for tally in self._tallies.values())
        manifest = BackupManifest(FORMAT, drape, label_studio, made_at, database, parts)
        text = json.dumps(asdict(manifest), indent=1).encode()
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(text), 0o600
        self._tar.addfile(info, io.BytesIO(text))
        return manifest


@dataclass
class _TrackedFile:
    """A file that adds each chunk that is read to a tally, and reports its length."""

    file: IO[bytes]
    tally: _Tally
    on_progress: Callable[[int], None]

    def read(self, size: int = -1, /) -> bytes:
        chunk = self.file.read(size)
        self.tally.add(chunk)
        self.on_progress(len(chunk))
        return chunk


@contextmanager
def create_archive(path: Path, on_progress: Callable[[int], None]) -> Iterator[ArchiveWriter]:
    """Opens a new archive: `path` is complete and on the disk after the block, and does not exist after a failure.

    Raises:
        LauncherError: `path` exists already, or cannot be written.
    """
    if path.exists():
        raise LauncherError(f"{path} exists already. Choose another name.")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (
            os.fdopen(descriptor, "wb") as file,
            gzip.GzipFile("", "wb", COMPRESSION_LEVEL, file, 0) as zipped,
            tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            yield ArchiveWriter(tar, on_progress)
        sync(partial)
        partial.rename(path)
    except OSError as e:
        raise LauncherError(f"{path} cannot be written: {e.strerror or e}. The incomplete file is deleted.") from e
    finally:
        partial.unlink(missing_ok=True)


OpenTarget = Callable[[PartName, str, tarfile.TarInfo], IO[bytes] | None]


def read_archive(
    file: IO[bytes], *, name: str, open_target: OpenTarget = lambda part, path, info: None
) -> BackupManifest:
    """Reads an archive from its beginning to its end, and compares each part with the manifest.

    Args:
        name: the archive's name in error messages.
        open_target: returns, for each file, the open file to copy it to (closed afterwards); None to skip it.

    Raises:
        LauncherError: the archive is damaged, truncated or of another format, or holds files that no backup has.
        OSError: the content of a file cannot be written.
    """
    tallies: dict[PartName, _Tally] = {}
    fields = None
    try:
        with gzip.open(file) as zipped, tarfile.open(fileobj=zipped, mode="r|") as tar:
            while (member := tar.next()) is not None:
                content = tar.extractfile(member) if member.isreg() else None
                if fields is not None or content is None:
                    raise _unexpected_member(name, member.name)
                if member.name == MANIFEST:
                    fields = json.loads(content.read(MAX_MANIFEST_BYTES))
                else:
                    _read_member(member, content, tallies, open_target, name)
                tar.members = []  # type: ignore[attr-defined]
            # gzip compares the checksum only at the end of the stream.
            while zipped.read(CHUNK_BYTES):
                pass
        manifest = _read_manifest(fields, name)
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, ValueError, TypeError, KeyError) as e:
        raise LauncherError(f"{name} is damaged or cut short ({e}). Use another backup.") from e
    if tuple(tally.part() for tally in tallies.values()) != tuple(part for part in manifest.parts if part.files):
        raise LauncherError(f"{name} is damaged: its files do not match its manifest. Use another backup.")
    return manifest


def _read_member(
    member: tarfile.TarInfo, content: IO[bytes], tallies: dict[PartName, _Tally], open_target: OpenTarget, name: str
) -> None:
    # Not by `tarfile.data_filter`, which Debian 12's Python 3.11.2 lacks.
    part, _, path = member.name.partition("/")
    if part not in get_args(PartName) or not path or ".." in Path(path).parts or path.startswith("/"):
        raise _unexpected_member(name, member.name)
    tally = tallies.setdefault(part, _Tally(part))  # type: ignore[arg-type]
    tally.begin(path, member.size)
    target = open_target(tally.name, path, member)
    try:
        while chunk := content.read(CHUNK_BYTES):
            tally.add(chunk)
            if target is not None:
                target.write(chunk)
    finally:
        if target is not None:
            target.close()


def _unexpected_member(name: str, member: str) -> LauncherError:
    return LauncherError(f"{name} contains '{member}', which no backup of Drape contains. Nothing is restored.")


def _read_manifest(fields: Any, name: str) -> BackupManifest:
    if fields is None:
        raise LauncherError(f"{name} has no manifest: it is cut short or not a backup. Use another backup.")
    if fields["format"] != FORMAT:
        raise LauncherError(
            f"{name} was made by Drape {fields['drape']}, whose backups this version cannot read. Restore it with that "
            "version."
        )
    return BackupManifest(**{**fields, "parts": tuple(Part(**part) for part in fields["parts"])})
