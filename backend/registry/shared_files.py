"""Copies, on this machine, of model versions that several machines share.

What the storage holds is asked at most every `FRESH_S` seconds for each project, with one listing, for which hardly
anybody waits. Files are fetched when they are needed, and again when they have changed. While the storage is away
everything goes on with what is here.
"""

from __future__ import annotations

import json
import logging
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from filelock import FileLock

from backend.errors import StorageAwayError, StorageError
from backend.registry.files import MANIFEST
from backend.storage.atomic_files import write_whole
from backend.storage.store import Kept, Storage, insistently

logger = logging.getLogger(__name__)

# Older than the first, what is known is asked for anew in the background; older than the second, one waits for that a
# little.
FRESH_S, STALE_S, PATIENCE_S = 2.0, 5.0, 2.0
# How long a storage that was away is left alone by those who only read.
AWAY_S = 5.0
# What lies in the storage for a day without a manifest is what somebody's killed process left; what lies here for an
# hour and is gone there was removed.
ABANDONED_S, REMOVED_S = 86_400.0, 3600.0
# What is here and not in the listing may have been put here since by another process.
JUST_PUT_S = 60.0
LISTING, CLAIMS, PACKED = ".listing.json", "claims", ".tar"
ALL = ""


@dataclass(frozen=True)
class _Look:
    """What the storage held: by name; `at` by the monotonic clock."""

    kept: Mapping[str, Kept]
    at: float


class SharedFiles:
    """Files below `root`, each a copy of what the storage keeps under `under/` and the same path. Thread-safe."""

    def __init__(
        self, storage: Storage, root: Path, *, under: str, report: Callable[[str], None] = logger.warning
    ) -> None:
        """`report` is told, once each time, that the storage is away."""
        self._storage = storage
        self._root = root
        self._under = under
        self._report = report
        self._looks: dict[str, _Look] = {}
        self._written_at: dict[str, float] = {}
        self._asking: dict[str, threading.Lock] = {}
        # By copy: when its tag was noted, and the tag.
        self._tags: dict[Path, tuple[int, str]] = {}
        self._looking: dict[str, threading.Thread] = {}
        self._guard = threading.Lock()
        self._away_until = 0.0

    def names(self, folder: Path) -> list[str]:
        """Names of the folders directly below."""
        parts = folder.relative_to(self._root).parts
        if not parts:
            return sorted(self._kept(ALL))
        start = self._name(folder) + "/"
        found = (name.removeprefix(start) for name in self._kept(parts[0]) if name.startswith(start))
        return sorted({name.partition("/")[0] for name in found if "/" in name})

    def has(self, path: Path) -> bool:
        """Whether the storage has it; it need not be here."""
        return self._name(path) in self._kept(self._line(path))

    def current(self, path: Path, *, anew: bool = False) -> Path:
        """The path, after a copy of what the storage has lies there.

        Raises:
            StorageError: there is no copy, and the storage is away.
        """
        kept = self._kept(self._line(path)).get(self._name(path))
        if kept is None:
            if not self._was_just_put(path):
                path.unlink(missing_ok=True)
        elif anew or not (self._is_known(path, kept) and path.is_file()):
            self._fetch(path, kept, anew=anew, placed=lambda half: half.replace(path), is_here=path.is_file)
        return path

    def current_folder(self, folder: Path) -> Path:
        """The same for a folder, which the storage keeps as one archive: it never holds parts of two."""
        packed = _packed(folder)
        kept = self._kept(self._line(packed)).get(self._name(packed))
        if kept is None:
            if not self._was_just_put(packed):
                shutil.rmtree(folder, ignore_errors=True)
        elif not (self._is_known(packed, kept) and folder.is_dir()):
            self._fetch(packed, kept, anew=False, placed=lambda half: _unpack(half, folder), is_here=folder.is_dir)
        return folder

    def put(self, path: Path, content: str, *, durable: bool = False) -> None:
        """Writes it to the storage first: whoever reads it here can rely on its being there."""
        encoded = content.encode()
        kept = self._storage.write(self._name(path), encoded)
        with self._alone(path):
            self._forget(path)
            write_whole(path, encoded)
            self._know(path, kept)
        self._wrote(path, kept)

    def put_folder(self, made: Path, folder: Path, *, first: bool = False) -> None:
        """Packs it, uploads the archive, and moves the folder to its place."""
        packed = _packed(folder)
        name = self._name(packed)
        with tempfile.TemporaryDirectory(prefix=".packed-", dir=made.parent) as aside:
            archive = Path(aside, packed.name)
            pack(made, archive)
            if not first:
                kept = self._storage.write(name, archive)
            elif self._storage.create(name, archive.read_bytes()):
                kept = self._storage.kept_under(self._name(folder.parent))[name]
            else:
                self.look_anew(self._root / self._line(folder))
                self.current_folder(folder)
                return
        with self._alone(packed):
            self._forget(packed)
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
            self._know(packed, kept)
        self._wrote(packed, kept)

    @contextmanager
    def locked(self, line: Path) -> Iterator[None]:
        """Holds off this machine's other processes, and has seen what other machines did."""
        line.mkdir(parents=True, exist_ok=True)
        with FileLock(line / ".lock"):
            for attempt in insistently():
                with attempt:
                    self._look(line.name)
            yield

    def claim(self, line: Path, *, last: int) -> int:
        """The first number that no machine has claimed; one whose process was killed stays unused."""
        claims = f"{self._name(line)}/{CLAIMS}/"
        kept = self._kept(line.name)
        self._clear(line, kept)
        number = max([last, *(int(name.removeprefix(claims)) for name in kept if name.startswith(claims))]) + 1
        while not self._storage.create(f"{claims}{number}", b""):
            number += 1
        return number

    def add(self, made: Path, folder: Path) -> None:
        """Uploads all of it, the manifest last, and keeps it here too."""
        sent = {}
        for path in sorted(made.iterdir(), key=lambda path: path.name == MANIFEST):
            sent[path.name] = self._storage.write(self._name(folder / path.name), path)
        made.rename(folder)
        for name, kept in sent.items():
            self._know(folder / name, kept)
            self._wrote(folder / name, kept)

    def remove(self, folder: Path, *, is_needed: Callable[[], bool]) -> bool:
        """Removes its manifest first; where another machine made it the champion meanwhile, that comes back."""
        line, manifest = folder.parent, folder / MANIFEST
        content = self.current(manifest).read_bytes()
        self._storage.remove(self._name(manifest))
        self.look_anew(line)
        if is_needed():
            self._wrote(manifest, self._storage.write(self._name(manifest), content))
            return False
        for name in self._storage.kept_under(self._name(folder)):
            self._storage.remove(name)
        self.look_anew(line)
        shutil.rmtree(folder, ignore_errors=True)
        return True

    def look_anew(self, line: Path) -> None:
        """Asks the storage now; where that is away it is reported, and what was known last holds."""
        try:
            self._look(line.name)
        except StorageError:
            self._look_patiently(line.name, time.monotonic())

    def _kept(self, line: str) -> Mapping[str, Kept]:
        """What the storage holds of a line, as known by now; the lines themselves for `ALL`."""
        look, now = self._looks.get(line), time.monotonic()
        if look is None:
            return self._look_patiently(line, now)
        if now - look.at > FRESH_S and now > self._away_until:
            looking = self._look_meanwhile(line, now)
            if now - look.at > STALE_S and not self._away_until:
                looking.join(PATIENCE_S)
        return self._looks[line].kept

    def _look_meanwhile(self, line: str, now: float) -> threading.Thread:
        with self._guard:
            looking = self._looking.get(line)
            if looking is None or not looking.is_alive():
                looking = threading.Thread(target=self._look_patiently, args=(line, now), daemon=True)
                self._looking[line] = looking
                looking.start()
            return looking

    def _look_patiently(self, line: str, asked_at: float) -> Mapping[str, Kept]:
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

    def _look(self, line: str) -> Mapping[str, Kept]:
        with self._lock_of(line):
            return self._ask(line)

    def _ask(self, line: str) -> Mapping[str, Kept]:
        while True:
            began = time.monotonic()
            if line == ALL:
                kept = {name: Kept("", 0, 0.0) for name in self._storage.folders(self._under)}
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

    def _remember(self, line: str, kept: Mapping[str, Kept]) -> None:
        """For a process that begins while the storage is away; and removes versions that are gone."""
        folder = self._root / line
        try:
            write_whole(folder / LISTING, json.dumps({name: astuple(one) for name, one in kept.items()}))
            for entry in folder.iterdir() if line != ALL else ():
                gone = entry.is_dir() and not entry.name.startswith(".") and self._name(entry / MANIFEST) not in kept
                if gone and time.time() - entry.stat().st_mtime > REMOVED_S:
                    shutil.rmtree(entry, ignore_errors=True)
        except OSError as e:
            logger.warning("What %s holds is not kept in %s: %s", self._storage.url, folder, e)

    def _last_known(self, line: str) -> Mapping[str, Kept] | None:
        try:
            facts = json.loads((self._root / line / LISTING).read_text())
            return {name: Kept(*one) for name, one in facts.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return None

    def _fetch(
        self, path: Path, kept: Kept, *, anew: bool, placed: Callable[[Path], object], is_here: Callable[[], bool]
    ) -> None:
        with self._alone(path):
            if not anew and self._is_known(path, kept) and is_here():
                return  # Another process has fetched it.
            with tempfile.TemporaryDirectory(prefix=".fetched-", dir=path.parent) as aside:
                half = Path(aside, path.name)
                try:
                    self._storage.fetch(self._name(path), half)
                except FileNotFoundError:
                    return  # Removed since it was listed.
                except StorageError as e:
                    if anew or not is_here():
                        raise
                    self._report(f"{e} An older copy of {path.name} goes on being used.")
                    return
                self._forget(path)
                placed(half)
                self._know(path, kept)

    def _clear(self, line: Path, kept: Mapping[str, Kept]) -> None:
        """Removes what was uploaded of versions whose processes were killed: after a day, nobody uploads it still."""
        versions = {name.removesuffix(f"/{MANIFEST}") for name in kept if name.endswith(f"/{MANIFEST}")}
        for name, one in kept.items():
            version = "/".join(name.split("/")[: len(self._name(line).split("/")) + 1])
            is_other = version == name or version.endswith(f"/{CLAIMS}") or version in versions
            if not is_other and time.time() - one.written_at > ABANDONED_S:
                self._storage.remove(name)

    def _wrote(self, path: Path, kept: Kept) -> None:
        line = self._line(path)
        with self._guard:
            self._written_at[line] = time.monotonic()
            look = self._looks.get(line)
            if look is not None:
                self._looks[line] = _Look({**look.kept, self._name(path): kept}, look.at)
            if ALL in self._looks and line not in self._looks[ALL].kept:
                del self._looks[ALL]

    def _is_known(self, path: Path, kept: Kept) -> bool:
        """Whether the copy that is here, if one is, is of that."""
        note = _note(path)
        try:
            # Another process may have fetched another one.
            noted_at = note.stat().st_mtime_ns
            known = self._tags.get(path)
            if known is None or known[0] != noted_at:
                known = self._tags[path] = noted_at, note.read_text()
        except OSError:
            return False
        return known[1] == kept.tag

    def _know(self, path: Path, kept: Kept) -> None:
        write_whole(_note(path), kept.tag)

    def _forget(self, path: Path) -> None:
        """First of all: a copy that is replaced is never taken for what it was."""
        _note(path).unlink(missing_ok=True)

    def _was_just_put(self, path: Path) -> bool:
        try:
            return time.time() - _note(path).stat().st_mtime < JUST_PUT_S
        except OSError:
            return False

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            yield

    def _lock_of(self, line: str) -> threading.Lock:
        with self._guard:
            return self._asking.setdefault(line, threading.Lock())

    def _line(self, path: Path) -> str:
        return path.relative_to(self._root).parts[0]

    def _name(self, path: Path) -> str:
        return f"{self._under}/{path.relative_to(self._root).as_posix()}"


def pack(folder: Path, archive: Path) -> None:
    """Makes the one archive that the storage keeps of a folder."""
    with tarfile.open(archive, "w") as file:
        file.add(folder, arcname=".")


def unpack(archive: Path, folder: Path) -> None:
    """Makes a folder of such an archive."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")


def _packed(folder: Path) -> Path:
    return folder.with_name(folder.name + PACKED)


def _note(path: Path) -> Path:
    """Where it stands which content a copy is of."""
    return path.with_name(f".{path.name}.tag")


def _unpack(archive: Path, folder: Path) -> None:
    half = archive.with_name(folder.name)
    unpack(archive, half)
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)
