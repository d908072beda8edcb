"""What a storage that several machines share holds: how old that is, and asking it anew.

It is asked at most every `FRESH_S` seconds for each project, with one listing, for which hardly anybody waits. While it
is away what was known last holds.
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

from backend.errors import StorageAwayError, StorageError
from backend.registry.files import MANIFEST
from backend.storage.atomic_files import write_whole
from backend.storage.store import Storage, StoredObject

logger = logging.getLogger(__name__)

# Older than the first, what is known is asked for anew in the background; older than the second, one waits for that a
# little.
FRESH_S, STALE_S, PATIENCE_S = 2.0, 5.0, 2.0
# How long a storage that was away is left alone by those who only read.
AWAY_S = 5.0
# What lies here for an hour and is gone there was removed.
REMOVED_S = 3600.0
LISTING = ".listing.json"
# The listing of the projects' folders themselves.
ALL = ""


@dataclass(frozen=True)
class _Look:
    """What the storage held: by name; `at` by the monotonic clock."""

    kept: Mapping[str, StoredObject]
    at: float


class RemoteListing:
    """Names of what the storage keeps under `under/`, project by project; `root` is where copies lie. Thread-safe."""

    def __init__(self, storage: Storage, root: Path, *, under: str, report: Callable[[str], None]) -> None:
        """`report` is told, once each time, that the storage is away."""
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
        """What the storage holds of a line, as known by now; the lines themselves for `ALL`."""
        look, now = self._looks.get(line), time.monotonic()
        if look is None:
            return self._look_patiently(line, now)
        if now - look.at > FRESH_S and now > self._away_until:
            looking = self._look_meanwhile(line, now)
            if now - look.at > STALE_S and not self._away_until:
                looking.join(PATIENCE_S)
        return self._looks[line].kept

    def look(self, line: str) -> Mapping[str, StoredObject]:
        """Asks the storage now.

        Raises:
            StorageError: it is away.
        """
        with self._lock_of(line):
            return self._ask(line)

    def look_anew(self, line: str) -> None:
        """Asks the storage now; where that is away it is reported, and what was known last holds."""
        try:
            self.look(line)
        except StorageError:
            self._look_patiently(line, time.monotonic())

    def wrote(self, path: Path, kept: StoredObject) -> None:
        """Says what this process has written to the storage: no older listing shall hide it."""
        line = self.line(path)
        with self._guard:
            self._written_at[line] = time.monotonic()
            look = self._looks.get(line)
            if look is not None:
                self._looks[line] = _Look({**look.kept, self.name(path): kept}, look.at)
            if ALL in self._looks and line not in self._looks[ALL].kept:
                del self._looks[ALL]

    def line(self, path: Path) -> str:
        """The project's folder that a path lies in."""
        return path.relative_to(self._root).parts[0]

    def name(self, path: Path) -> str:
        """What the storage calls a path below the root."""
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
        """What the storage holds, or held when it last answered; who waited while another asked takes its answer."""
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
                raise StorageAwayError(f"{self._storage.url} (STORAGE_URL) is away, and nothing of it is here.")
            self._looks[line] = _Look(known, time.monotonic())
            return known

    def _ask(self, line: str) -> Mapping[str, StoredObject]:
        while True:
            began = time.monotonic()
            if line == ALL:
                kept = {name: StoredObject("", 0, 0.0) for name in self._storage.folders(self._under)}
            else:
                kept = self._storage.kept_under(f"{self._under}/{line}")
            with self._guard:
                # What this process wrote meanwhile may be missing from it.
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
        """For a process that begins while the storage is away; and removes versions that are gone."""
        folder = self._root / line
        try:
            write_whole(folder / LISTING, json.dumps({name: astuple(one) for name, one in kept.items()}))
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
