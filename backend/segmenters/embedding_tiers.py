"""The tiers that store embeddings, each with a limit in bytes: a device's memory, a disk, a shared storage."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError

from backend.errors import StorageError
from backend.segmenters.embedding_files import SUFFIX, Tensors, read_tensors, size_of, write_tensors
from backend.storage.atomic_files import replacing, staging_folder
from backend.storage.store import Storage, StoredObject

logger = logging.getLogger(__name__)

# Of the shared storage: the folder in it, the greatest age of a listing, the number of writes between two listings, and
# how long it gets no requests after it was unreachable.
SHARED = "embeddings"
LISTING_MAX_AGE_S, PUTS_PER_LISTING, PAUSE_S = 10.0, 20, 30.0


class Tier(Protocol):
    """One store of embeddings with a limit in bytes; it evicts the least recently used first. Thread-safe."""

    @property
    def name(self) -> str:
        """The tier's name in the metrics."""

    @property
    def used_bytes(self) -> int:
        """Size of the stored embeddings, in bytes."""

    def get(self, key: str) -> Tensors | None:
        """Returns the embedding, on this tier's device; None if the tier does not have it."""

    def put(self, key: str, tensors: Tensors) -> Sequence[tuple[str, Tensors]]:
        """Stores the embedding; returns the evicted ones, or the embedding itself if it is larger than the tier."""


class MemoryTier:
    """Embeddings in the memory of a device."""

    def __init__(self, name: str, *, device: str, max_bytes: int) -> None:
        self.name = name
        self._device = torch.device(device)
        self._max_bytes = max_bytes
        self._tensors: OrderedDict[str, Tensors] = OrderedDict()
        self._used_bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """Size of the stored embeddings, in bytes."""
        return self._used_bytes

    def get(self, key: str) -> Tensors | None:
        """Returns the embedding, on this tier's device; None if the tier does not have it."""
        with self._lock:
            if key in self._tensors:
                self._tensors.move_to_end(key)
            return self._tensors.get(key)

    def put(self, key: str, tensors: Tensors) -> list[tuple[str, Tensors]]:
        """Moves the embedding to this tier's device and stores it; returns as `Tier.put` does."""
        if size_of(tensors) > self._max_bytes:
            return [(key, tensors)]
        moved = {name: tensor.to(self._device) for name, tensor in tensors.items()}
        with self._lock:
            self._used_bytes += size_of(moved) - size_of(self._tensors.pop(key, {}))
            self._tensors[key] = moved
            evicted = []
            while self._used_bytes > self._max_bytes:
                evicted.append(self._tensors.popitem(last=False))
                self._used_bytes -= size_of(evicted[-1][1])
            return evicted


class DiskTier:
    """Embeddings as safetensors files, in a folder that several processes may share and that outlives them."""

    name = "disk"

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        # The limit may be lower than it was when the files were written.
        self._remove_oldest()

    @property
    def used_bytes(self) -> int:
        """Size of the stored embeddings, in bytes."""
        return sum(size for _, size, _ in self._files())

    def get(self, key: str) -> Tensors | None:
        """Returns the embedding, in the host's memory; None if it is not stored. Removes a damaged file."""
        path = self._path(key)
        try:
            tensors = read_tensors(path)
            # The modification time records the last use; not every system records that a file was read.
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as e:
            logger.warning("The stored embedding %s is damaged, the image is encoded again: %s", path.name, e)
            path.unlink(missing_ok=True)
            return None
        return tensors

    def put(self, key: str, tensors: Tensors) -> list[tuple[str, Tensors]]:
        """Writes the embedding, whole or not at all, and removes the files used longest ago; returns an empty list."""
        with replacing(self._path(key)) as unfinished:
            write_tensors(tensors, unfinished)
        self._remove_oldest()
        return []

    def has(self, key: str) -> bool:
        """Returns whether the embedding is stored, without reading it."""
        return self._path(key).is_file()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"

    def _files(self) -> list[tuple[float, int, Path]]:
        """Returns time of last use, size in bytes and path of each file."""
        files = []
        for path in self._folder.glob(f"*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # Another process removed it.
            files.append((status.st_mtime, status.st_size, path))
        return files

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

    It has a limit in bytes as the other tiers have, but evicts those that were written longest ago, because a bucket
    records only the time of writing. An unreachable storage gets no requests for a while, so that nobody waits for it.
    """

    name = "shared"

    def __init__(self, storage: Storage, scratch_folder: Path, *, max_bytes: int) -> None:
        """`scratch_folder` is a folder on this machine for files on their way to or from the storage."""
        self._storage = storage
        self._scratch_folder = scratch_folder
        self._max_bytes = max_bytes
        self._listed: dict[str, StoredObject] = {}
        self._listed_at = -inf
        self._paused_until = -inf
        self._puts = 0

    @property
    def used_bytes(self) -> int:
        """Size of the stored embeddings, in bytes, when this process last listed them."""
        # The list is a copy, because other threads change the dictionary.
        return sum(stored.size for stored in list(self._listed.values()))

    def get(self, key: str) -> Tensors | None:
        """Returns the embedding, in the host's memory; None if it is not stored or cannot be fetched now."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            with self._file(key) as file:
                self._storage.fetch(_shared_name(key), file)
                return read_tensors(file)
        except FileNotFoundError:
            return None
        except StorageError as e:
            self._pause(e)
        except (SafetensorError, OSError) as e:
            logger.warning("The shared embedding %s is damaged, the image is encoded again: %s", key, e)
        return None

    def put(self, key: str, tensors: Tensors) -> list[tuple[str, Tensors]]:
        """Writes the embedding, whole or not at all, and at intervals removes the oldest; returns an empty list."""
        if time.monotonic() < self._paused_until:
            return []
        try:
            with self._file(key) as file:
                write_tensors(tensors, file)
                stored = self._storage.write(_shared_name(key), file)
            if self._puts % PUTS_PER_LISTING == 0:
                self._list()
                self._remove_oldest()
            self._puts += 1
            self._listed[_shared_name(key)] = stored
        except StorageError as e:
            self._pause(e)
        return []

    def has(self, key: str) -> bool:
        """Returns whether the last listing, normally some seconds old, contains the embedding."""
        now = time.monotonic()
        if now > max(self._listed_at + LISTING_MAX_AGE_S, self._paused_until):
            try:
                self._list()
            except StorageError as e:
                self._pause(e)
        return _shared_name(key) in self._listed

    def _list(self) -> None:
        self._listed_at = time.monotonic()
        self._listed = self._storage.list_under(SHARED)

    def _remove_oldest(self) -> None:
        used = self.used_bytes
        for name, stored in sorted(self._listed.items(), key=lambda item: item[1].written_at):
            if used <= self._max_bytes:
                return
            self._storage.remove(name)
            used -= stored.size
            self._listed.pop(name, None)

    def _pause(self, error: StorageError) -> None:
        logger.warning("The shared storage is not used for embeddings for the next %.0f s: %s", PAUSE_S, error)
        self._paused_until = time.monotonic() + PAUSE_S

    @contextmanager
    def _file(self, key: str) -> Iterator[Path]:
        file = self._scratch_folder / f"{key}{SUFFIX}"
        with staging_folder(file) as folder:
            yield folder / file.name


def _shared_name(key: str) -> str:
    return f"{SHARED}/{key}{SUFFIX}"
