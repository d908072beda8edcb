"""The files of model versions, as the registry and whoever has a version sees them: below a folder of this machine's.

`OwnFiles` are there alone; `shared_files.SharedFiles` are copies of what several machines share.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from backend.storage.atomic_files import HALF, sync, write_whole

# Written last: a version is there when this is.
MANIFEST = "manifest.json"


class Files(Protocol):
    """Files below a folder, named by their paths. A project's versions lie in one folder, its line."""

    def names(self, folder: Path) -> list[str]:
        """Names of the folders directly below a folder."""

    def has(self, path: Path) -> bool:
        """Whether there is such a file."""

    def current(self, path: Path, *, anew: bool = False) -> Path:
        """The same path; whatever is kept under it lies there now, or nothing.

        Args:
            anew: what lies there is damaged.

        Raises:
            StorageError: it is not here, and cannot be had.
        """

    def current_folder(self, folder: Path) -> Path:
        """The same for a folder that was put as one."""

    def put(self, path: Path, content: str, *, durable: bool = False) -> None:
        """Keeps a file, whole or not at all.

        Raises:
            OSError, StorageError: it cannot be written.
        """

    def put_folder(self, made: Path, folder: Path, *, first: bool = False) -> None:
        """Moves a folder that was made beside its place there, in one step; what stood there goes.

        Args:
            first: another's that came first stays instead.

        Raises:
            OSError, StorageError: it cannot be written.
        """

    def locked(self, line: Path) -> AbstractContextManager[None]:
        """Keeps this machine's other processes from changing the line during the block."""

    def next_number(self, line: Path, *, last: int) -> int:
        """A number above `last` that nobody else gets; asked for where the line is locked."""

    def add(self, made: Path, folder: Path) -> None:
        """Moves a version that was made beside its place there; where the line is locked."""

    def remove(self, folder: Path, *, is_needed: Callable[[], bool]) -> bool:
        """Removes a version, first of all from sight; where the line is locked. False where it turned out to be needed
        and is still there."""

    def look_anew(self, line: Path) -> None:
        """What others have written up to now is seen from now on."""


class OwnFiles:
    """Files of this machine alone, or of a folder that it uses as if they were."""

    def names(self, folder: Path) -> list[str]:
        """Names of the folders directly below."""
        return [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []

    def has(self, path: Path) -> bool:
        """Whether there is such a file."""
        return path.is_file()

    def current(self, path: Path, *, anew: bool = False) -> Path:
        """The path: what lies there is what there is."""
        return path

    def current_folder(self, folder: Path) -> Path:
        """The path likewise."""
        return folder

    def put(self, path: Path, content: str, *, durable: bool = False) -> None:
        """Writes a file whole."""
        write_whole(path, content, durable=durable)

    def put_folder(self, made: Path, folder: Path, *, first: bool = False) -> None:
        """Moves it in one step; who asks for the first holds a lock."""
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)

    @contextmanager
    def locked(self, line: Path) -> Iterator[None]:
        """Holds the line's lock."""
        with FileLock(line / ".lock"):
            yield

    def next_number(self, line: Path, *, last: int) -> int:
        """The next one."""
        # The lock is held: whoever left these is dead.
        for left in line.glob(f"{HALF}*"):
            shutil.rmtree(left, ignore_errors=True)
        return last + 1

    def add(self, made: Path, folder: Path) -> None:
        """Moves it in one step, once it is on the disk."""
        for path in made.iterdir():
            sync(path)
        made.rename(folder)

    def remove(self, folder: Path, *, is_needed: Callable[[], bool]) -> bool:
        """Moves it out of sight in one step: a half-deleted folder is no version."""
        gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=folder.parent))
        folder.rename(gone / folder.name)
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def look_anew(self, line: Path) -> None:
        """Nothing to do: every look is a new one."""


OWN_FILES = OwnFiles()
