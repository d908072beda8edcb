"""What a version was trained on, and its parent was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.registry.registry import Version


@dataclass(frozen=True)
class Changes:
    """A version against its parent: counts of annotations, names of classes, sizes in pixels."""

    parent: str
    added: int
    changed: int
    removed: int
    classes_added: tuple[str, ...]
    classes_removed: tuple[str, ...]
    image_size_px: int
    image_size_before_px: int


def changes_since_parent(version: Version, line: Sequence[Version]) -> Changes | None:
    """What is new; None where the version has no parent, or it is not in the `line` of versions any more."""
    parent = next((one for one in line if one.name == version.parent), None)
    if parent is None:
        return None
    new, old = version.annotations, parent.annotations
    return Changes(
        parent=parent.name,
        added=len(new.keys() - old.keys()),
        changed=sum(new[one] != old[one] for one in new.keys() & old.keys()),
        removed=len(old.keys() - new.keys()),
        classes_added=tuple(name for name in version.classes if name not in parent.classes),
        classes_removed=tuple(name for name in parent.classes if name not in version.classes),
        image_size_px=version.image_size_px,
        image_size_before_px=parent.image_size_px,
    )
