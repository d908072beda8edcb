"""A cached listing of a storage that several machines share, and its refreshing.

Each project's listing is refreshed at most every `FRESH_S` seconds, with one request, and callers rarely wait for it.
While the storage is unreachable, the last known listing is used.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path

from backend.errors import StorageError, StorageUnavailableError
from backend.registry.files import MANIFEST
from backend.storage.atomic_files import write_atomically
from backend.storage.store import Storage, StoredObject

logger = logging.getLogger(__name__)

# A listing older than `FRESH_S` is refreshed in the background; if it is older than `STALE_S`, the caller waits for the
# refresh, at most `PATIENCE_S`.
FRESH_S, STALE_S, PATIENCE_S = 2.0, 5.0, 2.0
# How long readers send no request to a storage that was unreachable.
AWAY_S = 5.0
# A local version that is older than this and missing from the storage was removed there.
REMOVED_S = 3600.0
LISTING = ".listing.json"
# The name of the listing of the projects' folders.
ALL = ""


@dataclass(frozen=True)
class _Look:
    """A listing of the storage, by name; `at` is its time on the monotonic clock, in seconds."""

    kept: Mapping[str, StoredObject]
    at: float


class RemoteListing:
    """The objects below `under/` in the storage, listed per project; local copies lie in `root`. Thread-safe."""

    def __init__(self, storage: Storage, root: Path, *, under: str, report: Callable[[str], None]) -> None:
        """`report` receives a message each time the storage becomes unreachable."""
        self._storage = storage
        self._root = root
        self._under = under
        self._report = report
        self._looks: dict[str, _Look] = {}
        self._written_at: dict[str, float] = {}
        self._asking: dict[str, threading.Lock] = {}
        self._looking: dict[str, threading.Thread] = {}
        self._guard = threading.Lock()
        self._away_until = 0.0

    def kept(self, line: str) -> Mapping[str, StoredObject]:
        """Returns the cached listing of a line, or of the lines themselves for `ALL`; refreshes it if it is old."""
        look, now = self._looks.get(line), time.monotonic()
        if look is None:
            return self._look_patiently(line, now)
        if now - look.at > FRESH_S and now > self._away_until:
            looking = self._look_meanwhile(line, now)
            if now - look.at > STALE_S and not self._away_until:
                looking.join(PATIENCE_S)
        return self._looks[line].kept

    def look(self, line: str) -> Mapping[str, StoredObject]:
        """Lists a line in the storage now.

        Raises:
            StorageError: the storage is unreachable.
        """
        with self._lock_of(line):
            return self._ask(line)

    def look_anew(self, line: str) -> None:
        """Lists a line in the storage now; if the storage is unreachable, reports that and uses the last listing."""
        try:
            self.look(line)
        except StorageError:
            self._look_patiently(line, time.monotonic())

    def wrote(self, path: Path, kept: StoredObject) -> None:
        """Notes that this process has written an object to the storage, so that no older listing hides it."""
        line = self.line(path)
        with self._guard:
            self._written_at[line] = time.monotonic()
            look = self._looks.get(line)
            if look is not None:
                self._looks[line] = _Look({**look.kept, self.name(path): kept}, look.at)
            if ALL in self._looks and line not in self._looks[ALL].kept:
                del self._looks[ALL]

    def line(self, path: Path) -> str:
        """Returns the name of the project folder in which a path lies."""
        return path.relative_to(self._root).parts[0]

    def name(self, path: Path) -> str:
        """Returns the storage's name for a path below the root."""
        return f"{self._under}/{path.relative_to(self._root).as_posix()}"

    def _look_meanwhile(self, line: str, now: float) -> threading.Thread:
        with self._guard:
            looking = self._looking.get(line)
            if looking is None or not looking.is_alive():
                looking = threading.Thread(target=self._look_patiently, args=(line, now), daemon=True)
                self._looking[line] = looking
                looking.start()
            return looking

    def _look_patiently(self, line: str, asked_at: float) -> Mapping[str, StoredObject]:
        """Returns the new or last known listing; a thread that waited while another one asked takes that answer."""
        with self._lock_of(line):
            look = self._looks.get(line)
            if look is not None and look.at >= asked_at:
                return look.kept
            if time.monotonic() > self._away_until:
                try:
                    return self._ask(line)
                except StorageError as e:
                    if self._away_until == 0.0:
                        self._report(f"{e} What is here already goes on being used.")
                    self._away_until = time.monotonic() + AWAY_S
            known = look.kept if look is not None else self._last_known(line)
            if known is None:
                raise StorageUnavailableError(
                    f"{self._storage.url} (STORAGE_URL) cannot be reached, and this machine has no copy."
                )
            self._looks[line] = _Look(known, time.monotonic())
            return known

    def _ask(self, line: str) -> Mapping[str, StoredObject]:
        while True:
            began = time.monotonic()
            if line == ALL:
                kept = {name: StoredObject("", 0, 0.0) for name in self._storage.folders(self._under)}
            else:
                kept = self._storage.list_under(f"{self._under}/{line}")
            with self._guard:
                # The listing may lack an object that this process wrote after `began`: then the storage is asked again.
                if self._written_at.get(line, -1.0) < began:
                    before = self._looks.get(line)
                    self._looks[line] = _Look(kept, began)
                    break
        if self._away_until:
            logger.info("%s answers again", self._storage.url)
        self._away_until = 0.0
        if before is None or before.kept != kept:
            self._remember(line, kept)
        return kept

    def _remember(self, line: str, kept: Mapping[str, StoredObject]) -> None:
        """Saves the listing for processes that start while the storage is unreachable; deletes removed versions."""
        folder = self._root / line
        try:
            write_atomically(folder / LISTING, json.dumps({name: astuple(one) for name, one in kept.items()}))
            for entry in folder.iterdir() if line != ALL else ():
                gone = entry.is_dir() and not entry.name.startswith(".") and self.name(entry / MANIFEST) not in kept
                if gone and time.time() - entry.stat().st_mtime > REMOVED_S:
                    shutil.rmtree(entry, ignore_errors=True)
        except OSError as e:
            logger.warning("What %s holds is not kept in %s: %s", self._storage.url, folder, e)

    def _last_known(self, line: str) -> Mapping[str, StoredObject] | None:
        try:
            facts = json.loads((self._root / line / LISTING).read_text())
            return {name: StoredObject(*one) for name, one in facts.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def _lock_of(self, line: str) -> threading.Lock:
        with self._guard:
            return self._asking.setdefault(line, threading.Lock())
