"""The interface to the files of model versions, which lie below a folder of this machine.

`OwnFiles` exist on this machine alone; `shared_files.SharedFiles` are copies of files that several machines share.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from backend.storage.atomic_files import STAGING_PREFIX, sync, write_atomically

# Written last: a version exists once its manifest exists.
MANIFEST = "manifest.json"


class Files(Protocol):
    """Files below a folder, addressed by their paths. A project's versions lie in one folder, the project's line."""

    def names(self, folder: Path) -> list[str]:
        """Returns the names of the folders directly below a folder."""

    def has(self, path: Path) -> bool:
        """Returns whether the file exists."""

    def current(self, path: Path, *, anew: bool = False) -> Path:
        """Returns the path after it has put the file's current content there; nothing is there if no file is stored.

        Args:
            anew: the content at the path is damaged, and is fetched again.

        Raises:
            StorageError: the file is not on this machine, and cannot be fetched.
        """

    def current_folder(self, folder: Path) -> Path:
        """Does the same for a folder that `put_folder` stored."""

    def put(self, path: Path, content: str, *, durable: bool = False) -> None:
        """Stores a file, whole or not at all.

        Raises:
            OSError, StorageError: the file cannot be written.
        """

    def put_folder(self, made: Path, folder: Path, *, first: bool = False) -> None:
        """Moves the folder `made`, which lies beside `folder`, to `folder` in one step and replaces what is there.

        Args:
            first: a folder that another process or machine stored before stays instead.

        Raises:
            OSError, StorageError: the folder cannot be written.
        """

    def locked(self, line: Path) -> AbstractContextManager[None]:
        """Keeps this machine's other processes from changing the line during the block."""

    def next_number(self, line: Path, *, last: int) -> int:
        """Returns a number above `last` that nobody else gets; the caller has locked the line."""

    def add(self, made: Path, folder: Path) -> None:
        """Moves the version in `made`, beside `folder`, to `folder`; the caller has locked the line."""

    def remove(self, folder: Path, *, is_needed: Callable[[], bool]) -> bool:
        """Hides, then deletes a version of a locked line; returns False if it turned out to be needed, and stays."""

    def look_anew(self, line: Path) -> None:
        """Makes everything visible that other machines have written up to now."""


class OwnFiles:
    """Files that this machine alone has, or files in a folder that it treats as its own."""

    def names(self, folder: Path) -> list[str]:
        """Returns the names of the folders directly below a folder."""
        return [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []

    def has(self, path: Path) -> bool:
        """Returns whether the file exists."""
        return path.is_file()

    def current(self, path: Path, *, anew: bool = False) -> Path:
        """Returns the path: the file there is the only one."""
        return path

    def current_folder(self, folder: Path) -> Path:
        """Returns the folder: it is the only one."""
        return folder

    def put(self, path: Path, content: str, *, durable: bool = False) -> None:
        """Writes a file, whole or not at all."""
        write_atomically(path, content, durable=durable)

    def put_folder(self, made: Path, folder: Path, *, first: bool = False) -> None:
        """Moves the folder in one step; callers that set `first` hold a lock, so that no other can have come first."""
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)

    @contextmanager
    def locked(self, line: Path) -> Iterator[None]:
        """Holds the line's file lock during the block."""
        with FileLock(line / ".lock"):
            yield

    def next_number(self, line: Path, *, last: int) -> int:
        """Returns the number after `last`, and removes folders that killed processes left unfinished."""
        # The caller holds the lock, so the processes that made these folders are dead.
        for left in line.glob(f"{STAGING_PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        return last + 1

    def add(self, made: Path, folder: Path) -> None:
        """Moves the version in one step, once its files are on the disk."""
        for path in made.iterdir():
            sync(path)
        made.rename(folder)

    def remove(self, folder: Path, *, is_needed: Callable[[], bool]) -> bool:
        """Hides the version in one step, then deletes it: a half-deleted folder is not a version."""
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=folder.parent))
        folder.rename(gone / folder.name)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def look_anew(self, line: Path) -> None:
        """Does nothing: every read sees the current files."""


OWN_FILES = OwnFiles()
