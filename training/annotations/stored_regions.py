"""Keeps the regions of approved annotations in files: those of ten thousand images take gigabytes in memory.

A file holds an annotation's regions and those that were shown, and is named by their hash: it never changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from backend.errors import DatasetError
from backend.storage.atomic_files import link_or_copy, write_atomically
from training.annotations.approvals import Approved


class StoredRegions(Sequence[dict[str, Any]]):
    """Label Studio's regions in a file, which each use reads anew.

    Raises:
        DatasetError: by each use, if the file cannot be read; the message says what to do.
    """

    __slots__ = ("_part", "path")

    def __init__(self, path: Path, part: Literal["result", "shown"]) -> None:
        self.path = path
        self._part = part

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, number: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, number: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, number: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._read()[number]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._read() == list(other)

    def __hash__(self) -> int:
        return hash((self.path.name, self._part))

    def _read(self) -> list[dict[str, Any]]:
        try:
            regions: list[dict[str, Any]] = json.loads(self.path.read_text())[self._part]
        except (OSError, ValueError) as e:
            raise DatasetError(
                f"{self.path} cannot be read: {e}. Delete the folder {self.path.parent}: everything is counted again."
            ) from e
        return regions


@dataclass(frozen=True)
class ApprovedFacts:
    """An approved annotation without its regions; the fields are those of `Approved`, and the name of their file."""

    annotation_id: int
    task_id: int
    data: dict[str, Any]
    content_hash: str
    by_person: bool
    made_at: str
    lead_time_s: float | None
    from_prediction: bool
    shown_hash: str | None
    file: str

    def restored(self, folder: Path) -> Approved:
        """Returns the annotation with its regions, which lie in a folder."""
        facts = {name: value for name, value in vars(self).items() if name != "file"}
        path = folder / self.file
        shown = None if self.shown_hash is None else StoredRegions(path, "shown")
        return Approved(**facts, result=StoredRegions(path, "result"), shown=shown)


def store_regions(annotation: Approved, folder: Path) -> ApprovedFacts:
    """Stores an annotation's regions in a folder, unless they are there; those in another folder are linked.

    Raises:
        OSError: the file cannot be written.
    """
    if isinstance(annotation.result, StoredRegions):
        source = annotation.result.path
        if not (folder / source.name).is_file():
            link_or_copy(source, folder / source.name)
        name = source.name
    else:
        content = json.dumps({"result": annotation.result, "shown": annotation.shown})
        name = f"{annotation.annotation_id}-{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"
        if not (folder / name).is_file():
            write_atomically(folder / name, content)
    facts = {name: value for name, value in vars(annotation).items() if name not in ("result", "shown")}
    return ApprovedFacts(**facts, file=name)
