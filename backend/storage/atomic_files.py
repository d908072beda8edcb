"""Files and folders that appear complete or not at all: written beside their place, and moved there in one step."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Prefix of the names of incomplete folders. A killed process leaves them behind; the next one removes them.
STAGING_PREFIX = ".half-"


def write_atomically(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Writes a file (text as UTF-8), with its parent folders; replaces an existing file.

    Args:
        durable: waits until the content is on the disk, where it survives a crash of the machine.
    """
    with _replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def copy_atomically(source: Path, target: Path, *, durable: bool = False) -> None:
    """Copies a file in the same way."""
    with _replacing(target, durable=durable) as temporary:
        shutil.copyfile(source, temporary)


@contextmanager
def _replacing(path: Path, *, durable: bool) -> Iterator[Path]:
    """Yields a temporary file's path for the caller to write to, and moves the file to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A hidden name that no other process or machine uses.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        yield temporary
        if durable:
            sync(temporary)
        temporary.replace(path)
    except OSError:
        # On a full disk the incomplete file would take up the little space that is left.
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def staging_folder(target: Path, *, private: bool = True) -> Iterator[Path]:
    """Yields a new folder beside `target` for the caller to fill and move to `target`; removes it if it was not moved.

    Args:
        private: only the owner may read the folder.
    """
    if private:
        temporary = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=target.parent))
    else:
        temporary = target.with_name(f"{STAGING_PREFIX}{secrets.token_hex(4)}")
        temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
