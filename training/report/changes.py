"""Compares a version's training data with its parent's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.registry.registry import Version


@dataclass(frozen=True)
class Changes:
    """The differences from the parent: numbers of annotations, names of classes, image sizes in pixels."""

    parent: str
    added: int
    changed: int
    removed: int
    classes_added: tuple[str, ...]
    classes_removed: tuple[str, ...]
    image_size_px: int
    image_size_before_px: int


def changes_since_parent(version: Version, versions: Sequence[Version]) -> Changes | None:
    """Returns the differences; None if the version has no parent, or the parent is no longer in `versions`."""
    parent = next((candidate for candidate in versions if candidate.name == version.parent), None)
    if parent is None:
        return None
    new, old = version.annotations, parent.annotations
    return Changes(
        parent=parent.name,
        added=len(new.keys() - old.keys()),
        changed=sum(new[annotation_id] != old[annotation_id] for annotation_id in new.keys() & old.keys()),
        removed=len(old.keys() - new.keys()),
        classes_added=tuple(name for name in version.classes if name not in parent.classes),
        classes_removed=tuple(name for name in parent.classes if name not in version.classes),
        image_size_px=version.image_size_px,
        image_size_before_px=parent.image_size_px,
    )
