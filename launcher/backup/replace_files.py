"""New files and folders in the place of old ones: made beside, and moved there together."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Replacement:
    """A file or folder that is to be replaced, or, with `gone`, only taken away."""

    path: Path
    gone: bool = False

    @property
    def new(self) -> Path:
        """Where the new one is made."""
        return self.path.with_name(f".{self.path.name}.restored")

    @property
    def old(self) -> Path:
        """Where the old one waits until all are replaced."""
        return self.path.with_name(f".{self.path.name}.before")


def settle(sources: Sequence[Replacement]) -> None:
    """Cleans up after a replacement that was killed: one that was not through is taken back."""
    if any(place.new.exists() for place in sources):
        for place in sources:
            if place.old.exists():
                delete(place.path)
                place.old.rename(place.path)
    for place in sources:
        delete(place.new)
        delete(place.old)


def replace_all(sources: Sequence[Replacement]) -> None:
    """Moves every new one to its place; where one cannot be moved, all old ones come back.

    Raises:
        OSError: one could not be moved.
    """
    # From where to where, of each move.
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
        # They are in nobody's way, and the next replacement deletes them.
        with suppress(OSError):
            delete(place.old)


def as_its_surroundings(path: Path) -> None:
    """Gives a new file or folder, and all below, to whom the folder around it belongs; for root alone."""
    if os.geteuid() != 0:
        return
    around = path.parent.stat()
    for one in [path, *path.rglob("*")]:
        os.chown(one, around.st_uid, around.st_gid)


def delete(path: Path) -> None:
    """Deletes a file or folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
