"""The index of a project's versions: one small file that names the champion, and every file by its content's hash.

Each change of an index is a new file, `<project>/index/<number>.json`, and the highest number counts. If several
processes or machines write the same number, one succeeds; the others read again and repeat their change.
"""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints, TypeAdapter, ValidationError

from backend.errors import ModelError, StorageError, StorageUnavailableError, first_line
from backend.storage.atomic_files import write_atomically
from backend.storage.retry import retrying_writes
from backend.storage.store import Folder, Storage

logger = logging.getLogger(__name__)

PROJECT = re.compile("[0-9]{1,19}")
NAME = re.compile(r"[a-z0-9]{1,20}-seg-v(\d+)-[0-9a-f]{6}")
# Older index files are deleted. The rest is for readers that listed an index just before it was replaced.
KEPT = 10
# How old the index of a shared storage may be, and how long an unreachable storage gets no requests. In seconds.
FRESH_S, AWAY_S = 2.0, 10.0
INDEX, SAVED_INDEX = "index", "index.json"

Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
# No part of a path begins with a dot: an index that somebody else wrote must not lead out of the version's folder.
FilePath = Annotated[str, StringConstraints(pattern=r"^[^./\\][^/\\]*(/[^./\\][^/\\]*)*$")]
VersionName = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]


@dataclass(frozen=True)
class Index:
    """The versions of one project.

    Attributes:
        last_number: the highest number that a version has had; it is never given again.
        champion: name of the version that pre-annotates; empty before the first.
        versions: name → path in the version → SHA-256 of the file.
    """

    last_number: int = 0
    champion: str = ""
    versions: Mapping[VersionName, Mapping[FilePath, Digest]] = field(default_factory=dict)

    def is_gone(self, name: str) -> bool:
        """Returns whether this names a version that was removed, or whose addition was broken off.

        A number above the last one may belong to a version that is being added now.
        """
        match = NAME.fullmatch(name)
        return match is not None and int(match[1]) <= self.last_number and name not in self.versions


INDEX_JSON = TypeAdapter(Index)


class Indexes:
    """The indexes of all projects in a storage. Safe for several threads, processes and machines."""

    def __init__(self, storage: Storage, prefix: str = "") -> None:
        """`prefix` is empty or ends with a slash."""
        self._storage = storage
        self._prefix = prefix
        # Project → tag of the file that was read last, and its content.
        self._parsed: dict[int, tuple[str, Index]] = {}

    def project_ids(self) -> list[int]:
        """Returns the ids of the projects that have an index, in ascending order."""
        return sorted(int(name) for name in self._storage.folders(self._prefix[:-1]) if PROJECT.fullmatch(name))

    def read(self, project_id: int, *, anew: bool = False) -> Index:
        """Returns the project's index; an empty one if the project has none.

        Args:
            anew: asks the storage, even if the index was read a moment ago.

        Raises:
            StorageError: the index cannot be read.
        """
        return self._latest(project_id)[1]

    def change(self, project_id: int, edit: Callable[[Index], Index]) -> Index:
        """Changes the project's index and returns it; no change of others is lost.

        Args:
            edit: returns the changed index. It is called again if others were faster, or if it is not known whether
                the change was stored. So it must leave an index alone that has its change already.

        Raises:
            ModelError: the changed index has a name that no reader accepts.
            StorageError: the storage is unreachable, or refuses the change.
        """
        return self._change(project_id, edit)[1]

    def _change(self, project_id: int, edit: Callable[[Index], Index]) -> tuple[int, Index]:
        """Returns the changed index, and the number of its file."""
        while True:
            number, index = retrying_writes()(self._latest, project_id)
            changed = edit(index)
            if changed == index:
                return number, index
            if self._write(project_id, number + 1, changed):
                return number + 1, changed

    def _write(self, project_id: int, number: int, index: Index) -> bool:
        content = INDEX_JSON.dump_json(index)
        try:
            INDEX_JSON.validate_json(content)
        except ValidationError as e:
            # Stored, it would be taken for damaged, and none of the project's versions could be used.
            raise ModelError(f"'{e.errors()[0]['input']}' is no name that can be stored among the models.") from e
        if not self._storage.create(self._file(project_id, number), content):
            return False
        numbers = self._numbers(project_id)
        if max(numbers) >= number + KEPT:
            # Others have written so much since the index was read that the number was deleted and free again.
            self._storage.remove(self._file(project_id, number))
            return False
        for old in numbers:
            if old <= number - KEPT:
                self._storage.remove(self._file(project_id, old))
        return True

    def _latest(self, project_id: int) -> tuple[int, Index]:
        """Returns the index, and the number of its file; 0 if there is none."""
        while True:
            numbers = self._numbers(project_id)
            if not numbers:
                return 0, Index()
            number = max(numbers)
            file, tag = self._file(project_id, number), numbers[number]
            parsed = self._parsed.get(project_id)
            if parsed is not None and parsed[0] == tag:
                return number, parsed[1]
            try:
                index = INDEX_JSON.validate_json(self._storage.read(file))
            except FileNotFoundError:
                continue  # It was replaced and deleted since it was listed.
            except ValidationError as e:
                raise StorageError(f"The index {file} in {self._storage.url} is damaged: {first_line(e)}") from e
            self._parsed[project_id] = tag, index
            return number, index

    def _numbers(self, project_id: int) -> dict[int, str]:
        """Returns number → tag of the project's index files."""
        files = self._storage.list_under(f"{self._prefix}{project_id}/{INDEX}")
        stems = {Path(name).stem: stored.tag for name, stored in files.items()}
        return {int(stem): tag for stem, tag in stems.items() if PROJECT.fullmatch(stem)}

    def _file(self, project_id: int, number: int) -> str:
        return f"{self._prefix}{project_id}/{INDEX}/{number}.json"


@dataclass(frozen=True)
class _Known:
    """An index as it was read at `read_at` (monotonic, in seconds), and the number of its file; 0 if unknown."""

    read_at: float
    number: int
    index: Index


class SharedIndexes(Indexes):
    """Indexes in a storage that may be slow or unreachable: then the last known index is used.

    An index is asked for at most every `FRESH_S` seconds, by one thread; others use the last one meanwhile. It is saved
    on this machine for processes that start while the storage is unreachable.
    """

    def __init__(self, storage: Storage, prefix: str, copies: Path, *, report: Callable[[str], None]) -> None:
        """`report` receives a message each time the storage becomes unreachable."""
        super().__init__(storage, prefix)
        self._copies = copies
        self._report = report
        self._known: dict[int, _Known] = {}
        self._lock = threading.Lock()
        self._away_until = 0.0

    def project_ids(self) -> list[int]:
        """Returns the projects in the storage; if it is unreachable, those whose indexes are saved here."""
        if time.monotonic() >= self._away_until:
            try:
                return self._stored_ids()
            except StorageError as e:
                self._pause(e)
        return self._saved_ids()

    def read(self, project_id: int, *, anew: bool = False) -> Index:
        """Returns the project's index as it was at most `FRESH_S` ago, or the last known one.

        Raises:
            StorageError: the storage is unreachable, and this machine does not know the index.
        """
        now, known = time.monotonic(), self._known.get(project_id)
        is_recent = known is not None and not anew and (now - known.read_at < FRESH_S or self._lock.locked())
        if known is not None and (is_recent or now < self._away_until):
            return known.index
        with self._lock:
            known = self._known.get(project_id)
            if known is None or known.read_at < now:  # Otherwise another thread has read it meanwhile.
                number, index = self._ask(project_id, known)
                known = self._known[project_id] = _Known(time.monotonic(), number, index)
        return known.index

    def change(self, project_id: int, edit: Callable[[Index], Index]) -> Index:
        """Changes the index in the storage, and remembers it; raises what `Indexes.change` raises."""
        number, index = self._change(project_id, edit)
        with self._lock:
            known = self._known.get(project_id)
            if known is None or known.number <= number:  # Otherwise another thread knows a later change.
                self._save(project_id, index)
                self._known[project_id] = _Known(time.monotonic(), number, index)
        return index

    def _latest(self, project_id: int) -> tuple[int, Index]:
        number, index = super()._latest(project_id)
        if not number:
            self._stored_ids()
        return number, index

    def _stored_ids(self) -> list[int]:
        """Returns the projects in the storage.

        Raises:
            StorageUnavailableError: it is a folder without any project that this machine knows versions of. So it is
                not mounted: versions that were stored in it now would be hidden later, and their numbers given twice.
        """
        ids = super().project_ids()
        known = {project_id for project_id in self._saved_ids() if (self._saved(project_id) or Index()).last_number}
        if known and known.isdisjoint(ids) and isinstance(self._storage, Folder):
            raise StorageUnavailableError(
                f"{self._storage.url} (STORAGE_URL) has none of the models that were in it. Mount it; if it is a new "
                f"folder, delete {self._copies}."
            )
        return ids

    def _saved_ids(self) -> list[int]:
        return sorted(int(path.parent.name) for path in self._copies.glob(f"*/{SAVED_INDEX}"))

    def _saved(self, project_id: int) -> Index | None:
        """Returns the index that is saved on this machine; None if there is none that can be read."""
        try:
            return INDEX_JSON.validate_json((self._copies / str(project_id) / SAVED_INDEX).read_bytes())
        except (OSError, ValidationError):
            return None

    def _ask(self, project_id: int, known: _Known | None) -> tuple[int, Index]:
        if time.monotonic() >= self._away_until:
            try:
                number, index = self._latest(project_id)
            except StorageError as e:
                self._pause(e)
            else:
                if self._away_until:
                    logger.info("%s answers again", self._storage.url)
                    self._away_until = 0.0
                if known is None or index != known.index:
                    self._save(project_id, index)
                return number, index
        if known is not None:
            return known.number, known.index
        saved = self._saved(project_id)
        if saved is None:
            raise StorageUnavailableError(
                f"{self._storage.url} (STORAGE_URL) cannot be reached, and this machine has no copy of the models of "
                f"project {project_id}."
            )
        return 0, saved

    def _pause(self, error: StorageError) -> None:
        if not self._away_until:
            self._report(f"{error} The models that are on this machine remain in use.")
        self._away_until = time.monotonic() + AWAY_S

    def _save(self, project_id: int, index: Index) -> None:
        """Saves the index on this machine, and deletes the copies of versions that were removed."""
        folder = self._copies / str(project_id)
        try:
            write_atomically(folder / SAVED_INDEX, INDEX_JSON.dump_json(index))
        except OSError as e:
            logger.warning("The index of project %s cannot be saved in %s: %s", project_id, folder, e)
        delete_copies(folder, index)


def delete_copies(folder: Path, index: Index) -> None:
    """Deletes the folders of versions that are gone from a project's folder on this machine."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if index.is_gone(entry.name):
            shutil.rmtree(entry, ignore_errors=True)
