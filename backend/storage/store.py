"""Where lies what several machines share: a folder that all of them reach (NFS), or a bucket of S3; one interface.

Names are such as `models/7/champion`. Whatever is written is seen whole or not at all, and by everybody from then on.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from backend.errors import StorageAwayError, StorageError, first_line
from backend.settings import Settings
from backend.storage.atomic_files import copy_whole, write_whole
from backend.storage.retry import insistently

logger = logging.getLogger(__name__)

BUCKETS = "s3://"
# Who reads has copies to go on with, and gives up soon; who writes has nothing else, and tries again.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 3, 10


@dataclass(frozen=True)
class StoredObject:
    """One thing that is kept.

    Attributes:
        tag: another one for other content.
        size: in bytes.
        written_at: seconds since 1970, by the storage's clock.
    """

    tag: str
    size: int
    written_at: float


class Storage(Protocol):
    """What is kept under names. Thread-safe; all methods raise `StorageError`, and `StorageAwayError` where the same
    may succeed later."""

    @property
    def url(self) -> str:
        """Where it is; holds no secret."""

    def kept_under(self, under: str) -> dict[str, StoredObject]:
        """Everything whose name begins with `under/`, at any depth; the names are whole ones. Empty for nothing."""

    def folders(self, under: str) -> list[str]:
        """First parts, after `under/`, of the names of what lies deeper, in order."""

    def read(self, name: str) -> bytes:
        """What is kept under the name.

        Raises:
            FileNotFoundError: nothing is.
        """

    def fetch(self, name: str, to: Path) -> None:
        """Writes what is kept under the name into a file.

        Raises:
            FileNotFoundError: nothing is.
        """

    def write(self, name: str, content: bytes | Path) -> StoredObject:
        """Keeps it, or a file's content, whole; what was kept under the name is replaced."""

    def create(self, name: str, content: bytes) -> bool:
        """Keeps it where nothing is kept under the name; False where something is. Of many at once one succeeds."""

    def remove(self, name: str) -> None:
        """Forgets it; what is not kept anyway is no failure."""


class Folder:
    """A folder that every machine has, under whatever path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def url(self) -> str:
        """Its path."""
        return str(self._folder)

    def kept_under(self, under: str) -> dict[str, StoredObject]:
        """Everything below; hidden files are others' unfinished ones."""
        found: dict[str, StoredObject] = {}
        with self._said("read"):
            for folder, folders, files in os.walk(self._folder / under, onerror=_unless_gone):
                folders[:] = [one for one in folders if not one.startswith(".")]
                for path in (Path(folder, one) for one in files if not one.startswith(".")):
                    # Removed meanwhile.
                    with suppress(FileNotFoundError):
                        found[path.relative_to(self._folder).as_posix()] = _kept(path)
        return found

    def folders(self, under: str) -> list[str]:
        """Folders directly below."""
        folder = self._folder / under
        with self._said("read"):
            if not folder.is_dir():
                return []
            return sorted(one.name for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))

    def read(self, name: str) -> bytes:
        """A file's content."""
        with self._said("read"):
            return (self._folder / name).read_bytes()

    def fetch(self, name: str, to: Path) -> None:
        """Copies a file."""
        with self._said("read"):
            copy_whole(self._folder / name, to)

    def write(self, name: str, content: bytes | Path) -> StoredObject:
        """Writes beside its place, and moves it there."""
        path = self._folder / name
        with self._said("written to"):
            if isinstance(content, Path):
                copy_whole(content, path, durable=True)
            else:
                write_whole(path, content, durable=True)
            return _kept(path)

    def create(self, name: str, content: bytes) -> bool:
        """By a hard link, which NFS has too."""
        path = self._folder / name
        half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with self._said("written to"):
            write_whole(half, content, durable=True)
            try:
                # Unlike a renaming it replaces nothing.
                path.hardlink_to(half)
            except FileExistsError:
                return False
            finally:
                half.unlink(missing_ok=True)
        return True

    def remove(self, name: str) -> None:
        """Removes a file, and the folders that it leaves empty."""
        path = self._folder / name
        with self._said("written to"):
            path.unlink(missing_ok=True)
        # Not the outermost, without which it would look as if it were not mounted.
        for folder in list(path.relative_to(self._folder).parents)[:-1]:
            with suppress(OSError):
                (self._folder / folder).rmdir()

    @contextmanager
    def _said(self, done: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as e:
            raise StorageAwayError(f"{self.url} (STORAGE_URL) cannot be {done}: {e.strerror or e}.") from e


class Bucket:
    """A bucket of S3, or the part of one below a prefix; credentials and endpoint are those of the AWS_* variables."""

    def __init__(self, url: str) -> None:
        self._root = url.removeprefix(BUCKETS).strip("/")

    @property
    def url(self) -> str:
        """As settings have it."""
        return f"{BUCKETS}{self._root}"

    def kept_under(self, under: str) -> dict[str, StoredObject]:
        """By the bucket's own listing, a thousand names a request; it shows what was written before it was asked."""
        with self._said("read"):
            found: dict[str, dict[str, Any]] = self._s3.find(self._key(under), detail=True)
        # Where it finds nothing it looks once more, and what has come since then is described as a directory.
        files = {key: facts for key, facts in found.items() if facts["type"] == "file" and "ETag" in facts}
        return {key[len(self._root) + 1 :]: _described(facts) for key, facts in files.items()}

    def folders(self, under: str) -> list[str]:
        """By a listing that stops at each slash."""
        try:
            with self._said("read"):
                found = self._s3.ls(self._key(under), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(str(one["name"]).rpartition("/")[2] for one in found if one["type"] == "directory")

    def read(self, name: str) -> bytes:
        """An object's content."""
        with self._said("read"):
            return bytes(self._s3.cat_file(self._key(name)))

    def fetch(self, name: str, to: Path) -> None:
        """Downloads an object."""
        with self._said("read"):
            self._s3.get_file(self._key(name), str(to))

    def write(self, name: str, content: bytes | Path) -> StoredObject:
        """Uploads an object, large ones in parts: S3 shows it once it is whole."""
        key = self._key(name)
        for attempt in insistently():
            with attempt, self._said("written to", writing=True):
                if isinstance(content, Path):
                    self._s3.put_file(str(content), key)
                else:
                    self._s3.pipe_file(key, content)
                return _described(self._s3.info(key, refresh=True))
        raise StorageError(f"{self.url} cannot be written to.")

    def create(self, name: str, content: bytes) -> bool:
        """By If-None-Match, which S3 has had since 2024."""
        for attempt in insistently():
            with attempt, self._said("written to", writing=True):
                try:
                    self._s3.pipe_file(self._key(name), content, mode="create")
                except OSError as e:
                    if not _was_refused(e):
                        raise
                    return False
        return True

    def remove(self, name: str) -> None:
        """Deletes an object."""
        for attempt in insistently():
            with attempt, self._said("written to"), suppress(FileNotFoundError):
                self._s3.rm_file(self._key(name))

    @cached_property
    def _s3(self) -> Any:
        # Half a second to import, for those alone who have a bucket.
        from s3fs import S3FileSystem

        s3 = S3FileSystem(
            use_listings_cache=False,
            skip_instance_cache=True,
            config_kwargs={
                "connect_timeout": CONNECT_TIMEOUT_S,
                "read_timeout": READ_TIMEOUT_S,
                "retries": {"max_attempts": 2},
            },
        )
        # Its own five attempts come on top of each of ours, and of botocore's.
        s3.retries = 1
        return s3

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _said(self, done: str, *, writing: bool = False) -> Iterator[None]:
        from asyncio import TimeoutError as Late

        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

        try:
            yield
        except (PermissionError, NoCredentialsError, PartialCredentialsError) as e:
            raise StorageError(
                f"{self.url} (STORAGE_URL) cannot be {done}: {first_line(e)} Look at the AWS_… variables."
            ) from e
        except FileNotFoundError as e:
            if writing or "bucket does not exist" in str(e):
                raise StorageError(f"{self.url} (STORAGE_URL) cannot be {done}: {first_line(e)}") from e
            raise
        except (OSError, BotoCoreError, ClientError, Late) as e:
            raise StorageAwayError(f"{self.url} (STORAGE_URL) cannot be {done}: {first_line(e)}") from e


def storage_of(settings: Settings) -> Storage | None:
    """The storage that the settings name; None for none, where one machine keeps all in its data directory."""
    url = settings.storage_url
    if not url:
        return None
    if url.startswith(BUCKETS):
        return Bucket(url)
    return Folder(Path(unquote(urlsplit(url).path) if url.startswith("file://") else url))


def _unless_gone(error: OSError) -> None:
    # Else what cannot be read would look as if nothing were there.
    if not isinstance(error, FileNotFoundError):
        raise error


def _kept(path: Path) -> StoredObject:
    # Opened first: NFS looks whether a file has changed then, and answers from what it remembers else.
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
    return StoredObject(f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}", status.st_size, status.st_mtime)


def _described(facts: dict[str, Any]) -> StoredObject:
    return StoredObject(str(facts["ETag"]).strip('"'), int(facts["size"]), facts["LastModified"].timestamp())


def _was_refused(error: OSError) -> bool:
    """Whether an exclusive write found something there. Not every server of S3 says which condition did not hold."""
    answer = getattr(error.__cause__, "response", None) or {}
    return isinstance(error, FileExistsError) or answer.get("Error", {}).get("Code") == "PreconditionFailed"
