"""Embeddings of encoded images, kept in tiers: on the device, in the host's memory, on disk, in a shared storage.

An embedding is a dictionary of named tensors. It is named by the image's content, the model, its precision and the head
that reads it, so that a changed image or model never meets another's. One image is encoded once however many ask for
it, and who asks for a kept one never waits for another image's encoding.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from backend.errors import StorageError
from backend.settings import Settings
from backend.storage.store import Kept, Storage, storage_of
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

Tensors = Mapping[str, torch.Tensor]
SUFFIX = ".safetensors"
CHANNELS_LAST = "channels_last"
UNWRITTEN = 4
FINGERPRINT_BYTES = 1_000_000
# Of the shared storage: where in it, how old a list of it may be, after how many writings there is a new one, and how
# long it is left alone when it was away.
SHARED = "embeddings"
LISTED_S, LISTED_EVERY_PUTS, AWAY_S = 10.0, 20, 30.0


class Tier(Protocol):
    """One place where embeddings are kept, bounded by bytes; the least recently used go first. Thread-safe."""

    @property
    def name(self) -> str:
        """As metrics call it."""

    @property
    def used_bytes(self) -> int:
        """What is kept now, in bytes."""

    def get(self, key: str) -> Tensors | None:
        """The embedding, on this tier's device; None where it is not here."""

    def put(self, key: str, tensors: Tensors) -> Sequence[tuple[str, Tensors]]:
        """Keeps it. Returns what had to go for it: one that is larger than the whole tier goes itself."""


class MemoryTier:
    """Embeddings in the memory of a device."""

    def __init__(self, name: str, *, device: str, max_bytes: int) -> None:
        self.name = name
        self._device = torch.device(device)
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Tensors] = OrderedDict()
        self._used_bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """What is kept now, in bytes."""
        return self._used_bytes

    def get(self, key: str) -> Tensors | None:
        """The embedding, on this tier's device; None where it is not here."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, tensors: Tensors) -> list[tuple[str, Tensors]]:
        """Keeps it, moved to this tier's device; returns what had to go for it."""
        if size_of(tensors) > self._max_bytes:
            return [(key, tensors)]
        moved = {name: tensor.to(self._device) for name, tensor in tensors.items()}
        with self._lock:
            self._used_bytes += size_of(moved) - size_of(self._kept.pop(key, {}))
            self._kept[key] = moved
            gone = []
            while self._used_bytes > self._max_bytes:
                gone.append(self._kept.popitem(last=False))
                self._used_bytes -= size_of(gone[-1][1])
            return gone


class DiskTier:
    """Embeddings as safetensors files; the folder may be shared by several processes, and outlives them."""

    name = "disk"

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @property
    def used_bytes(self) -> int:
        """What is kept now, in bytes."""
        return sum(size for _, size, _ in self._files())

    def get(self, key: str) -> Tensors | None:
        """The embedding, in the host's memory; None where it is not here. A damaged file is removed."""
        path = self._path(key)
        try:
            tensors = _read(path)
            # Its time of change says when it was used last; reading alone does not set it everywhere.
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as e:
            logger.warning("The kept embedding %s is damaged and encoded anew: %s", path.name, e)
            path.unlink(missing_ok=True)
            return None
        return tensors

    def put(self, key: str, tensors: Tensors) -> list[tuple[str, Tensors]]:
        """Writes it, whole or not at all, and removes the files used longest ago; what is removed is not returned."""
        path = self._path(key)
        self._folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        try:
            _write(tensors, unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        self._remove_oldest()
        return []

    def has(self, key: str) -> bool:
        """Whether it is here, without reading it."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of last use, size in bytes and path of each file."""
        found = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # Another process removed it.
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _remove_oldest(self) -> None:
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            used -= size


class SharedTier:
    """Embeddings as safetensors in a storage that several machines share.

    It is bounded by bytes as the others are, but those that were written longest ago go first: what a bucket remembers
    is when something was written. A storage that is away is left alone for a while; nobody waits for it then.
    """

    name = "shared"

    def __init__(self, storage: Storage, aside: Path, *, max_bytes: int) -> None:
        """`aside` is a folder of this machine's for what is on its way."""
        self._storage = storage
        self._aside = aside
        self._max_bytes = max_bytes
        self._kept: dict[str, Kept] = {}
        self._listed_at = -inf
        self._away_until = -inf
        self._puts = 0

    @property
    def used_bytes(self) -> int:
        """What was kept when this process looked last, in bytes."""
        # Others write meanwhile.
        return sum(one.size for one in list(self._kept.values()))

    def get(self, key: str) -> Tensors | None:
        """The embedding, in the host's memory; None where it is not there, or cannot be had now."""
        if time.monotonic() < self._away_until:
            return None
        try:
            with self._file(key) as file:
                self._storage.fetch(_shared_name(key), file)
                return _read(file)
        except FileNotFoundError:
            return None
        except StorageError as e:
            self._leave_alone(e)
        except (SafetensorError, OSError) as e:
            logger.warning("The shared embedding %s is damaged and encoded anew: %s", key, e)
        return None

    def put(self, key: str, tensors: Tensors) -> list[tuple[str, Tensors]]:
        """Writes it, whole or not at all, and now and then removes those written longest ago; returns none of them."""
        if time.monotonic() < self._away_until:
            return []
        try:
            with self._file(key) as file:
                _write(tensors, file)
                kept = self._storage.write(_shared_name(key), file)
            if self._puts % LISTED_EVERY_PUTS == 0:
                self._list()
                self._remove_oldest()
            self._puts += 1
            self._kept[_shared_name(key)] = kept
        except StorageError as e:
            self._leave_alone(e)
        return []

    def has(self, key: str) -> bool:
        """Whether it was there some seconds ago."""
        now = time.monotonic()
        if now > max(self._listed_at + LISTED_S, self._away_until):
            try:
                self._list()
            except StorageError as e:
                self._leave_alone(e)
        return _shared_name(key) in self._kept

    def _list(self) -> None:
        self._listed_at = time.monotonic()
        self._kept = self._storage.kept_under(SHARED)

    def _remove_oldest(self) -> None:
        used = self.used_bytes
        for name, one in sorted(self._kept.items(), key=lambda item: item[1].written_at):
            if used <= self._max_bytes:
                return
            self._storage.remove(name)
            used -= one.size
            self._kept.pop(name, None)

    def _leave_alone(self, error: StorageError) -> None:
        logger.warning("Embeddings are not shared for the next %.0f s: %s", AWAY_S, error)
        self._away_until = time.monotonic() + AWAY_S

    @contextmanager
    def _file(self, key: str) -> Iterator[Path]:
        self._aside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=self._aside) as folder:
            yield Path(folder, f"{key}{SUFFIX}")


class EncoderTurns:
    """Lets one thread encode at a time, and who answers an annotator go before those who work ahead."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self._urgent = 0

    @contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """Waits for the encoder and holds it for the block."""
        with self._changed:
            self._urgent += urgent
            try:
                self._changed.wait_for(lambda: not self._busy and (urgent or not self._urgent))
                self._busy = True
            finally:
                self._urgent -= urgent
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()


class EmbeddingCache:
    """The tiers, fastest first, and the rule that an image is encoded once."""

    def __init__(
        self, memory: Sequence[Tier], *, disk: DiskTier | None, metrics: Metrics, shared: SharedTier | None = None
    ) -> None:
        """`disk` and `shared` receive every embedding as it is made, in the background; without them nothing is kept
        beyond this process, or this machine."""
        self._memory = tuple(memory)
        self._disk = disk
        self._shared = shared
        self._lasting: list[DiskTier | SharedTier] = [tier for tier in (disk, shared) if tier]
        self._metrics = metrics
        self._turns = EncoderTurns()
        self._encoding: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-embedding")
        # What waits to be written takes memory beyond the tiers' bounds: who encodes faster than the disk writes waits.
        self._unwritten = threading.Semaphore(UNWRITTEN)
        self._sharer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="share-embedding")
        self._unshared = threading.Semaphore(UNWRITTEN)
        metrics.watch_embeddings([*self._memory, *self._lasting])

    def get(
        self, image: str, head: str, encode: Callable[[], Mapping[str, Tensors]], *, urgent: bool = True
    ) -> Tensors:
        """What the head reads of the image: from the fastest tier that has it, else encoded now.

        Args:
            image: name of the image, the model and the precision.
            head: which of the embeddings that `encode` makes is wanted.
            encode: the embeddings of the image by head; called by one thread at a time.
            urgent: whether an annotator waits; who works ahead lets them go first.
        """
        found = self._look(f"{image}-{head}", counted=True)
        if found is not None:
            return found
        with self._alone(image):
            # Whoever held the lock before may have encoded it.
            found = self._look(f"{image}-{head}", counted=False)
            if found is not None:
                return found
            with self._turns.turn(urgent=urgent):
                started = time.perf_counter()
                made = encode()
                self._metrics.encode_seconds.observe(time.perf_counter() - started)
            for name, tensors in made.items():
                self._keep(f"{image}-{name}", tensors, urgent=urgent)
            return made[head]

    def has(self, image: str, head: str) -> bool:
        """Whether the embedding is kept in any tier; reads nothing from disk."""
        key = f"{image}-{head}"
        return any(tier.get(key) is not None for tier in self._memory) or any(tier.has(key) for tier in self._lasting)

    def close(self) -> None:
        """Waits until everything that was made is written."""
        self._writer.shutdown(wait=True)
        self._sharer.shutdown(wait=True)

    def _look(self, key: str, *, counted: bool) -> Tensors | None:
        tiers: list[Tier] = [*self._memory, *self._lasting]
        for number, tier in enumerate(tiers):
            found = tier.get(key)
            if found is None:
                continue
            self._count(tier.name, counted)
            if tier is self._shared and self._disk:
                self._write_later(self._disk, key, found)
            if number:
                self._hold(key, found)
                # As the fastest tier holds it: in the memory of the device that computes.
                return tiers[0].get(key) or found
            return found
        self._count("miss", counted)
        return None

    def _count(self, outcome: str, counted: bool) -> None:
        if counted:
            self._metrics.embedding_lookups.labels(outcome=outcome).inc()

    def _hold(self, key: str, tensors: Tensors) -> None:
        """Keeps it in memory; what a tier lets go moves to the next slower one."""
        moving: Sequence[tuple[str, Tensors]] = [(key, tensors)]
        for tier in self._memory:
            gone = [evicted for name, kept in moving for evicted in tier.put(name, kept)]
            self._metrics.embedding_evictions.labels(tier=tier.name).inc(len(gone))
            moving = gone

    def _keep(self, key: str, tensors: Tensors, *, urgent: bool) -> None:
        self._hold(key, tensors)
        if self._disk:
            self._write_later(self._disk, key, tensors)
        # An annotator does not wait for a storage that is slow: then another machine encodes the image itself.
        if self._shared and self._unshared.acquire(blocking=not urgent):
            self._sharer.submit(self._write, self._shared, key, tensors, self._unshared)

    def _write_later(self, disk: DiskTier, key: str, tensors: Tensors) -> None:
        self._unwritten.acquire()
        self._writer.submit(self._write, disk, key, tensors, self._unwritten)

    def _write(self, tier: Tier, key: str, tensors: Tensors, unwritten: threading.Semaphore) -> None:
        try:
            tier.put(key, tensors)
        except (OSError, SafetensorError, RuntimeError, ValueError) as e:
            logger.warning("The embedding %s is not kept (%s): %s", key, tier.name, e)
        finally:
            unwritten.release()

    @contextmanager
    def _alone(self, image: str) -> Iterator[None]:
        """Holds the image's own lock: who wants another image does not wait."""
        with self._guard:
            lock = self._encoding.setdefault(image, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._guard:
                # Who waits for it holds a reference of their own, and finds the embedding kept.
                self._encoding.pop(image, None)


def _shared_name(key: str) -> str:
    return f"{SHARED}/{key}{SUFFIX}"


def _write(tensors: Tensors, path: Path) -> None:
    """Writes safetensors, which knows one memory layout, and beside them which have their channels last.

    The layout is kept because it decides in which order sums are taken, and so the last bits of what a head answers.
    """
    last = [name for name, tensor in tensors.items() if _has_channels_last(tensor)]
    rows = {name: tensor.permute(0, 2, 3, 1) if name in last else tensor for name, tensor in tensors.items()}
    plain = {name: tensor.cpu().contiguous() for name, tensor in rows.items()}
    save_file(plain, path, metadata={CHANNELS_LAST: ",".join(last)})


def _read(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        last = (file.metadata() or {}).get(CHANNELS_LAST, "").split(",")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    # Copied out of the mapped file, which may be removed, to an address aligned as torch's own.
    return {name: (tensor.permute(0, 3, 1, 2) if name in last else tensor).clone() for name, tensor in tensors.items()}


def _has_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def size_of(tensors: Tensors) -> int:
    """Bytes that the tensors take."""
    return sum(tensor.nbytes for tensor in tensors.values())


def fingerprint(weights: Path) -> str:
    """16 hex digits that change with the weights: of the file's size and end, where torch keeps a checksum of each."""
    size = weights.stat().st_size
    with weights.open("rb") as file:
        file.seek(max(0, size - FINGERPRINT_BYTES))
        return hashlib.sha256(str(size).encode() + file.read()).hexdigest()[:16]


def embedding_cache(settings: Settings, *, device: str, metrics: Metrics) -> EmbeddingCache:
    """The tiers that the settings name, for a model on `device`; a tier of 0 bytes is left out."""
    memory = []
    if device != "cpu" and settings.embedding_device_bytes:
        memory.append(MemoryTier("device", device=device, max_bytes=settings.embedding_device_bytes))
    if settings.embedding_host_bytes:
        memory.append(MemoryTier("host", device="cpu", max_bytes=settings.embedding_host_bytes))
    folder = settings.data_dir / "embeddings"
    disk = DiskTier(folder, max_bytes=settings.embedding_disk_bytes) if settings.embedding_disk_bytes else None
    storage, most = storage_of(settings), settings.embedding_shared_bytes
    shared = SharedTier(storage, settings.cache_path / SHARED, max_bytes=most) if storage and most else None
    return EmbeddingCache(memory, disk=disk, shared=shared, metrics=metrics)
