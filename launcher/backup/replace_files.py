"""Replaces files and folders: the new ones are made beside the old ones, and moved into place together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Replacement:
    """A file or folder to replace or, with `remove_only`, to remove."""

    path: Path
    remove_only: bool = False

    @property
    def new(self) -> Path:
        """Path where the new file or folder is made."""
        return self.path.with_name(f".{self.path.name}.restored")

    @property
    def old(self) -> Path:
        """Path where the old file or folder stays until all are replaced."""
        return self.path.with_name(f".{self.path.name}.before")


def recover(replacements: Sequence[Replacement]) -> None:
    """Cleans up after a replacement that was killed; if it was incomplete, it is undone."""
    if any(replacement.new.exists() for replacement in replacements):
        for replacement in replacements:
            if replacement.old.exists():
                delete(replacement.path)
                replacement.old.rename(replacement.path)
    for replacement in replacements:
        delete(replacement.new)
        delete(replacement.old)


def replace_all(replacements: Sequence[Replacement]) -> None:
    """Moves all new files and folders to their places; if one move fails, moves all old ones back.

    Raises:
        OSError: a move failed.
    """
    # Source and target of each move.
    moved: list[tuple[Path, Path]] = []
    try:
        for replacement in replacements:
            moves = [] if replacement.remove_only else [(replacement.new, replacement.path)]
            if replacement.path.exists():
                moves.insert(0, (replacement.path, replacement.old))
            for source, target in moves:
                source.rename(target)
                moved.append((source, target))
    except OSError:
        for source, target in reversed(moved):
            target.rename(source)
        raise
    for replacement in replacements:
        # Old files that remain do no harm, and the next replacement deletes them.
        with suppress(OSError):
            delete(replacement.old)


def inherit_owner(path: Path) -> None:
    """Gives a new file or folder, and all below it, the owner of its parent folder; does nothing unless root."""
    if os.geteuid() != 0:
        return
    parent = path.parent.stat()
    for entry in [path, *path.rglob("*")]:
        os.chown(entry, parent.st_uid, parent.st_gid)


def delete(path: Path) -> None:
    """Deletes a file or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
