"""Files and folders that are whole or not there: written beside their place, and moved there in one step."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What the names of folders begin with that are not whole yet; whoever comes after a killed process removes them.
HALF = ".half-"


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Writes a file, UTF-8 where it is text; folders are made as needed, and what stood there is replaced.

    Args:
        durable: it is on the disk when this returns, whatever happens to the machine.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = _beside(path)
    try:
        half.write_bytes(content.encode() if isinstance(content, str) else content)
        if durable:
            sync(half)
        half.replace(path)
    except OSError:
        # On a full disk it would take what little is left.
        half.unlink(missing_ok=True)
        raise


def copy_whole(source: Path, target: Path, *, durable: bool = False) -> None:
    """Copies a file likewise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    half = _beside(target)
    try:
        shutil.copyfile(source, half)
        if durable:
            sync(half)
        half.replace(target)
    except OSError:
        half.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(place: Path, *, private: bool = True) -> Iterator[Path]:
    """A new folder beside `place`, which whoever writes it moves there when it is whole; what is left of it is removed.

    Args:
        private: only its owner may read it.
    """
    if private:
        half = Path(tempfile.mkdtemp(prefix=HALF, dir=place.parent))
    else:
        half = place.with_name(f"{HALF}{secrets.token_hex(4)}")
        half.mkdir(parents=True)
    try:
        yield half
    finally:
        shutil.rmtree(half, ignore_errors=True)


def sync(path: Path) -> None:
    """Waits until what was written to a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    # Hidden, and not another process's or machine's.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
