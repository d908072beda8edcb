"""The storage that several machines share, behind one interface: a folder that all of them reach (NFS) or an S3 bucket.

A name looks like `models/7/index/3.json`. A write is visible completely or not at all, and from then on to every
machine.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from backend.errors import StorageError, StorageUnavailableError, first_line
from backend.settings import Settings
from backend.storage.atomic_files import copy_atomically, create_atomically, write_atomically
from backend.storage.retry import retrying_writes

S3_SCHEME = "s3://"
# Short, since a reader has copies to continue with; a writer has no alternative and retries.
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 3, 10
# How many times a file is written if its folder is deleted each time.
FOLDER_ATTEMPTS = 10
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class StoredObject:
    """Description of one stored file or object.

    Attributes:
        tag: differs if the content differs.
        size: in bytes.
        written_at: seconds since 1970, by the storage's clock.
    """

    tag: str
    size: int
    written_at: float


class Storage(Protocol):
    """Stores content by name; thread-safe.

    Methods raise `StorageError`: `StorageUnavailableError` if a retry may succeed.
    """

    @property
    def url(self) -> str:
        """The storage's address; holds no secret."""

    def list_under(self, prefix: str) -> dict[str, StoredObject]:
        """Everything whose name begins with `prefix/`, at any depth, by its full name; empty if there is nothing."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below `prefix`, sorted."""

    def read(self, name: str) -> bytes:
        """The content stored under the name.

        Raises:
            FileNotFoundError: nothing is stored under the name.
        """

    def fetch(self, name: str, to: Path) -> None:
        """Writes the content stored under the name into a file.

        Raises:
            FileNotFoundError: nothing is stored under the name.
        """

    def write(self, name: str, content: bytes | Path) -> StoredObject:
        """Stores bytes or a file's content in one step; replaces any content that the name had."""

    def create(self, name: str, content: bytes) -> bool:
        """Stores content if the name is free, and returns whether it was. Of concurrent calls, one succeeds."""

    def remove(self, name: str) -> None:
        """Removes the content stored under the name; a free name is no failure."""


class Folder:
    """A folder that every machine reaches, each under a path of its own."""

    def __init__(self, folder: Path, *, setting: str = "STORAGE_URL") -> None:
        """`setting` is the name of the setting that messages mention."""
        self._folder = folder
        self._setting = setting

    @property
    def url(self) -> str:
        """Its path."""
        return str(self._folder)

    def list_under(self, prefix: str) -> dict[str, StoredObject]:
        """All files below, except for hidden ones, which are unfinished writes."""
        objects: dict[str, StoredObject] = {}
        with self._storage_errors("read"):
            for folder, folders, files in os.walk(self._folder / prefix, onerror=_raise_unless_missing):
                folders[:] = [name for name in folders if not name.startswith(".")]
                for path in (Path(folder, name) for name in files if not name.startswith(".")):
                    # Another process may have removed the file meanwhile.
                    with suppress(FileNotFoundError):
                        objects[path.relative_to(self._folder).as_posix()] = _stored_file(path)
        return objects

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below, sorted; hidden ones are left out."""
        folder = self._folder / prefix
        with self._storage_errors("read"):
            if not folder.is_dir():
                return []
            return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def read(self, name: str) -> bytes:
        """A file's content."""
        with self._storage_errors("read"):
            return (self._folder / name).read_bytes()

    def fetch(self, name: str, to: Path) -> None:
        """Copies a file."""
        with self._storage_errors("read"):
            copy_atomically(self._folder / name, to)

    def write(self, name: str, content: bytes | Path) -> StoredObject:
        """Writes the file beside its place, and moves it there."""
        with self._storage_errors("written to"):
            # Another process may delete the folder meanwhile, because it is empty or was left by an interrupted write.
            return Retrying(
                retry=retry_if_exception_type(FileNotFoundError), stop=stop_after_attempt(FOLDER_ATTEMPTS), reraise=True
            )(_write, self._folder / name, content)

    def create(self, name: str, content: bytes) -> bool:
        """Creates the file by a hard link."""
        with self._storage_errors("written to"):
            return create_atomically(self._folder / name, content)

    def remove(self, name: str) -> None:
        """Removes a file, and the folders that become empty."""
        path = self._folder / name
        with self._storage_errors("written to"):
            path.unlink(missing_ok=True)
        # The outermost folder stays: without it the storage would look as if it were not mounted.
        for folder in list(path.relative_to(self._folder).parents)[:-1]:
            with suppress(OSError):
                (self._folder / folder).rmdir()

    @contextmanager
    def _storage_errors(self, action: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as e:
            message = f"{self.url} ({self._setting}) cannot be {action}: {e.strerror or e}."
            if e.errno in DISK_FULL:
                # No retry helps until somebody has made room.
                raise StorageError(f"{message} The disk is full, or a quota is used up: make room on it.") from e
            raise StorageUnavailableError(message) from e


class Bucket:
    """An S3 bucket, or the part of it below a prefix; credentials and endpoint come from the AWS_* variables."""

    def __init__(self, url: str) -> None:
        self._root = url.removeprefix(S3_SCHEME).strip("/")

    @property
    def url(self) -> str:
        """The URL as the settings spell it."""
        return f"{S3_SCHEME}{self._root}"

    def list_under(self, prefix: str) -> dict[str, StoredObject]:
        """Lists the bucket, a thousand names per request; the listing shows everything written before the request."""
        with self._storage_errors("read"):
            listing: dict[str, dict[str, Any]] = self._s3.find(self._key(prefix), detail=True)
        # If s3fs finds nothing, it looks again, and describes an object that was written meanwhile as a directory.
        files = {key: info for key, info in listing.items() if info["type"] == "file" and "ETag" in info}
        return {key[len(self._root) + 1 :]: _stored_object(info) for key, info in files.items()}

    def folders(self, prefix: str) -> list[str]:
        """Uses a listing that stops at the next slash."""
        try:
            with self._storage_errors("read"):
                entries = self._s3.ls(self._key(prefix), detail=True, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(str(entry["name"]).rpartition("/")[2] for entry in entries if entry["type"] == "directory")

    def read(self, name: str) -> bytes:
        """An object's content."""
        with self._storage_errors("read"):
            return bytes(self._s3.cat_file(self._key(name)))

    def fetch(self, name: str, to: Path) -> None:
        """Downloads an object."""
        with self._storage_errors("read"):
            self._s3.get_file(self._key(name), str(to))

    def write(self, name: str, content: bytes | Path) -> StoredObject:
        """Uploads an object, a large one in parts: S3 shows it once it is complete."""
        return retrying_writes()(self._write, self._key(name), content)

    def _write(self, key: str, content: bytes | Path) -> StoredObject:
        with self._storage_errors("written to", writing=True):
            if isinstance(content, Path):
                self._s3.put_file(str(content), key)
            else:
                self._s3.pipe_file(key, content)
            return _stored_object(self._s3.info(key, refresh=True))

    def create(self, name: str, content: bytes) -> bool:
        """Uploads with If-None-Match, which S3 has supported since 2024."""
        for attempt in retrying_writes():
            with attempt, self._storage_errors("written to", writing=True):
                try:
                    self._s3.pipe_file(self._key(name), content, mode="create")
                except OSError as e:
                    if not _name_is_taken(e):
                        raise
                    return False
        return True

    def remove(self, name: str) -> None:
        """Deletes an object."""
        for attempt in retrying_writes():
            with attempt, self._storage_errors("written to"), suppress(FileNotFoundError):
                self._s3.rm_file(self._key(name))

    @cached_property
    def _s3(self) -> Any:
        # Imported here, as it takes half a second that only installations with a bucket need to spend.
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
        # By default s3fs makes five attempts, within each of Drape's and on top of botocore's.
        s3.retries = 1
        return s3

    def _key(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    @contextmanager
    def _storage_errors(self, action: str, *, writing: bool = False) -> Iterator[None]:
        from asyncio import TimeoutError as AsyncTimeoutError

        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError

        try:
            yield
        except (PermissionError, NoCredentialsError, PartialCredentialsError) as e:
            raise StorageError(
                f"{self.url} (STORAGE_URL) cannot be {action}: {first_line(e)} Check the AWS_… variables."
            ) from e
        except FileNotFoundError as e:
            if writing or "bucket does not exist" in str(e):
                raise StorageError(f"{self.url} (STORAGE_URL) cannot be {action}: {first_line(e)}") from e
            raise
        except (OSError, BotoCoreError, ClientError, AsyncTimeoutError) as e:
            raise StorageUnavailableError(f"{self.url} (STORAGE_URL) cannot be {action}: {first_line(e)}") from e


def open_storage(settings: Settings) -> Storage | None:
    """The storage that the settings name; None if they name none: one machine stores all in its data directory."""
    url = settings.storage_url
    if not url:
        return None
    if url.startswith(S3_SCHEME):
        return Bucket(url)
    return Folder(Path(unquote(urlsplit(url).path) if url.startswith("file://") else url))


def _write(path: Path, content: bytes | Path) -> StoredObject:
    if isinstance(content, Path):
        copy_atomically(content, path, durable=True)
    else:
        write_atomically(path, content, durable=True)
    return _stored_file(path)


def _raise_unless_missing(error: OSError) -> None:
    # `os.walk` would skip the error: a folder that cannot be read would look empty.
    if not isinstance(error, FileNotFoundError):
        raise error


def _stored_file(path: Path) -> StoredObject:
    # The file is opened first: only then does NFS check whether it has changed; otherwise it answers from its cache.
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
    return StoredObject(f"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}", status.st_size, status.st_mtime)


def _stored_object(info: dict[str, Any]) -> StoredObject:
    return StoredObject(str(info["ETag"]).strip('"'), int(info["size"]), info["LastModified"].timestamp())


def _name_is_taken(error: OSError) -> bool:
    """Whether an exclusive write found the name taken. Not every S3 server says which condition did not hold."""
    answer = getattr(error.__cause__, "response", None) or {}
    return isinstance(error, FileExistsError) or answer.get("Error", {}).get("Code") == "PreconditionFailed"
