"""Files and folders that appear complete or not at all: written beside their place, and moved there in one step.

While one is written, its process holds a lock on it. The kernel ends the lock with the process, however that ends; so
`delete_leftovers` knows what killed processes have left.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Prefix of the names of incomplete folders. Incomplete files are named `.<name>.<process>-<8 digits>`.
STAGING_PREFIX = ".half-"
INCOMPLETE = re.compile(re.escape(STAGING_PREFIX) + r".*|\..+\.\d+-[0-9a-f]{8}")


def write_atomically(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Writes a file (text as UTF-8), with its parent folders; replaces an existing file.

    Args:
        durable: waits until the content is on the disk, where it survives a crash of the machine.
    """
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def copy_atomically(source: Path, target: Path, *, durable: bool = False) -> None:
    """Copies a file in the same way."""
    with replacing(target, durable=durable) as temporary:
        shutil.copyfile(source, temporary)


def link_or_copy(source: Path, target: Path) -> None:
    """Makes a hard link to a file, with its parent folders; copies the file where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        copy_atomically(source, target)


def create_atomically(path: Path, content: bytes) -> bool:
    """Writes a file unless one exists, and returns whether it did. Of several calls at once, one does."""
    with _incomplete(path) as temporary:
        temporary.write_bytes(content)
        sync(temporary)
        try:
            # Unlike a rename, a hard link never replaces a file; NFS supports it too.
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
    return True


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields the path of an empty file for the caller to write to, and moves the file to `path`."""
    with _incomplete(path) as temporary:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)


@contextmanager
def _incomplete(path: Path) -> Iterator[Path]:
    """Yields the path of an empty file beside `path`, and deletes the file if it was not moved."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A hidden name that no other process or machine uses.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        temporary.touch()
        with _locked(temporary):
            yield temporary
    finally:
        # On a full disk the incomplete file would take up the little space that is left.
        temporary.unlink(missing_ok=True)


@contextmanager
def staging_folder(target: Path, *, private: bool = True) -> Iterator[Path]:
    """Yields a new folder beside `target` for the caller to fill and move to `target`; removes it if it was not moved.

    Args:
        private: only the owner may read the folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if private:
        temporary = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=target.parent))
    else:
        temporary = target.with_name(f"{STAGING_PREFIX}{secrets.token_hex(4)}")
        temporary.mkdir()
    try:
        with _locked(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def is_incomplete(path: Path) -> bool:
    """Returns whether the name is that of an incomplete file or folder."""
    return INCOMPLETE.fullmatch(path.name) is not None


def delete_leftovers(folder: Path) -> None:
    """Deletes the incomplete files and folders below `folder` that no process is writing."""
    for path in filter(is_incomplete, list(folder.rglob(".*"))):
        # If it cannot be locked, its process is alive or this account may not delete it.
        with suppress(OSError), _locked(path, flags=fcntl.LOCK_EX | fcntl.LOCK_NB, required=True):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def sync(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    with _opened(path) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _locked(path: Path, *, flags: int = fcntl.LOCK_EX, required: bool = False) -> Iterator[None]:
    with _opened(path) as descriptor:
        try:
            fcntl.flock(descriptor, flags)
        except OSError:
            # A shared folder (NFS) may support no locks. Leftovers are deleted only on this machine's own disk.
            if required:
                raise
        yield


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
