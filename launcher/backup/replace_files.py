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
    """A file or folder to replace or, with `gone`, only to remove."""

    path: Path
    gone: bool = False

    @property
    def new(self) -> Path:
        """Path where the new file or folder is made."""
        return self.path.with_name(f".{self.path.name}.restored")

    @property
    def old(self) -> Path:
        """Path where the old file or folder stays until all are replaced."""
        return self.path.with_name(f".{self.path.name}.before")


def settle(sources: Sequence[Replacement]) -> None:
    """Cleans up after a replacement that was killed; if it was incomplete, it is undone."""
    if any(place.new.exists() for place in sources):
        for place in sources:
            if place.old.exists():
                delete(place.path)
                place.old.rename(place.path)
    for place in sources:
        delete(place.new)
        delete(place.old)


def replace_all(sources: Sequence[Replacement]) -> None:
    """Moves all new files and folders to their places; if one move fails, moves all old ones back.

    Raises:
        OSError: a move failed.
    """
    # Source and target of each move.
    moved: list[tuple[Path, Path]] = []
    try:
        for place in sources:
            steps = [] if place.gone else [(place.new, place.path)]
            if place.path.exists():
                steps.insert(0, (place.path, place.old))
            for source, target in steps:
                source.rename(target)
                moved.append((source, target))
    except OSError:
        for source, target in reversed(moved):
            target.rename(source)
        raise
    for place in sources:
        # Old files that remain do no harm, and the next replacement deletes them.
        with suppress(OSError):
            delete(place.old)


def as_its_surroundings(path: Path) -> None:
    """Gives a new file or folder, and all below it, the owner of the folder around it; does nothing unless root."""
    if os.geteuid() != 0:
        return
    around = path.parent.stat()
    for one in [path, *path.rglob("*")]:
        os.chown(one, around.st_uid, around.st_gid)


def delete(path: Path) -> None:
    """Deletes a file or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
