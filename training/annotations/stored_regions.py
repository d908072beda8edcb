"""Keeps the regions of approved annotations in files: those of ten thousand images take gigabytes in memory.

A file holds an annotation's regions and those that were shown, and is named by their hash: it never changes.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from backend.errors import DatasetError
from backend.storage.atomic_files import link_or_copy, write_atomically
from training.annotations.approvals import Approved

logger = logging.getLogger(__name__)

# In the folder of annotations that are kept: the facts of each, and the files of their regions.
FACTS, REGIONS = "approved.json", "regions"


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
            raise DatasetError(_unreadable(self.path, e)) from e
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
    """Stores an annotation's regions in a folder, unless they are there whole; those in another folder are linked.

    Raises:
        DatasetError: the file in the other folder is lost or damaged; the message says what to do.
        OSError: the file cannot be written.
    """
    if isinstance(annotation.result, StoredRegions):
        source = annotation.result.path
        name = source.name
        if source.parent != folder and not is_whole(folder / name):
            if not is_whole(source):
                raise DatasetError(_unreadable(source, "it is lost or damaged"))
            (folder / name).unlink(missing_ok=True)
            link_or_copy(source, folder / name)
    else:
        content = json.dumps({"result": annotation.result, "shown": annotation.shown}).encode()
        name = f"{annotation.annotation_id}-{_digest(content)}.json"
        if not is_whole(folder / name):
            write_atomically(folder / name, content)
    facts = {name: value for name, value in vars(annotation).items() if name not in ("result", "shown")}
    return ApprovedFacts(**facts, file=name)


def keep(approved: Iterable[Approved], folder: Path) -> list[Approved]:
    """Stores annotations in a folder for as long as it is there, whatever later counts delete, and returns them.

    Raises:
        DatasetError, OSError: as `store_regions`.
    """
    facts = [store_regions(annotation, folder / REGIONS) for annotation in approved]
    write_atomically(folder / FACTS, json.dumps([vars(annotation) for annotation in facts]))
    return [annotation.restored(folder / REGIONS) for annotation in facts]


def kept(folder: Path) -> list[Approved] | None:
    """Returns the annotations that `keep` stored in a folder; None if there are none, or any is lost or damaged."""
    try:
        facts = [ApprovedFacts(**fields) for fields in json.loads((folder / FACTS).read_text())]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as e:
        logger.warning("%s cannot be read. The annotations are counted again: %s", folder / FACTS, e)
        return None
    damaged = [one.file for one in facts if not is_whole(folder / REGIONS / one.file)]
    if damaged:
        logger.warning("%s lacks %s, or it is damaged. The annotations are counted again.", folder, damaged[0])
        return None
    return [one.restored(folder / REGIONS) for one in facts]


def forget(folder: Path) -> None:
    """Lets the next call of `kept` find nothing in a folder."""
    (folder / FACTS).unlink(missing_ok=True)


def is_whole(file: Path) -> bool:
    """Whether a file of regions can be read, and holds what it was written with: a crash may leave it empty."""
    try:
        return _digest(file.read_bytes()) == file.stem.rpartition("-")[2]
    except OSError:
        return False


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _unreadable(file: Path, reason: object) -> str:
    return f"{file} cannot be read: {reason}. Delete the folder {file.parent}: everything is counted again."
