"""Caches embeddings of images in tiers: on the device, in the host's memory, on disk, in a shared storage.

An embedding is a dictionary of named tensors. Its key names the image's content, the model, its precision and the head
that reads it, so that a changed image or model never gets another's embedding. An image is encoded once, however many
callers ask for it, and a caller whose embedding is cached never waits for another image's encoding.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from safetensors import SafetensorError

from backend.segmenters.embedding_files import Tensors
from backend.segmenters.embedding_tiers import SHARED, DiskTier, MemoryTier, SharedTier, Tier
from backend.settings import Settings
from backend.storage.store import open_storage
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

UNWRITTEN = 4


class EncoderTurns:
    """Lets one thread encode at a time; threads that answer an annotator go before threads that work ahead."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self._urgent = 0

    @contextmanager
    def turn(self, *, urgent: bool) -> Iterator[None]:
        """Waits for the encoder and holds it during the block."""
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
    """Looks embeddings up in its tiers, fastest first, and ensures that an image is encoded once."""

    def __init__(
        self, memory: Sequence[Tier], *, disk: DiskTier | None, metrics: Metrics, shared: SharedTier | None = None
    ) -> None:
        """Writes embeddings in the background to `disk` (outlives the process) and `shared` (for all machines)."""
        self._memory = tuple(memory)
        self._disk = disk
        self._shared = shared
        self._lasting: list[DiskTier | SharedTier] = [tier for tier in (disk, shared) if tier]
        self._metrics = metrics
        self._turns = EncoderTurns()
        self._encoding: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-embedding")
        # Embeddings that wait to be written take memory beyond the tiers' limits, so a faster encoder has to wait.
        self._unwritten = threading.Semaphore(UNWRITTEN)
        self._sharer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="share-embedding")
        self._unshared = threading.Semaphore(UNWRITTEN)
        metrics.watch_embeddings([*self._memory, *self._lasting])

    def get(
        self, image: str, head: str, encode: Callable[[], Mapping[str, Tensors]], *, urgent: bool = True
    ) -> Tensors:
        """Returns the image's embedding for a head, from the fastest tier that has it; encodes the image if none has.

        Args:
            image: name of the image, the model and the precision.
            head: the head whose embedding is wanted.
            encode: returns the image's embeddings by head; one thread at a time calls it.
            urgent: whether an annotator waits; other calls let urgent calls go first.
        """
        found = self._look(f"{image}-{head}", counted=True)
        if found is not None:
            return found
        with self._alone(image):
            # The thread that held the lock before may have encoded the image.
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
        """Returns whether any tier has the embedding; reads no embedding from disk."""
        key = f"{image}-{head}"
        return any(tier.get(key) is not None for tier in self._memory) or any(tier.has(key) for tier in self._lasting)

    def close(self) -> None:
        """Waits until all embeddings are written."""
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
                # The fastest tier's copy is in the memory of the device that computes.
                return tiers[0].get(key) or found
            return found
        self._count("miss", counted)
        return None

    def _count(self, outcome: str, counted: bool) -> None:
        if counted:
            self._metrics.embedding_lookups.labels(outcome=outcome).inc()

    def _hold(self, key: str, tensors: Tensors) -> None:
        """Stores the embedding in memory; embeddings that a tier evicts move to the next slower memory tier."""
        moving: Sequence[tuple[str, Tensors]] = [(key, tensors)]
        for tier in self._memory:
            gone = [evicted for name, kept in moving for evicted in tier.put(name, kept)]
            self._metrics.embedding_evictions.labels(tier=tier.name).inc(len(gone))
            moving = gone

    def _keep(self, key: str, tensors: Tensors, *, urgent: bool) -> None:
        self._hold(key, tensors)
        if self._disk:
            self._write_later(self._disk, key, tensors)
        # An annotator does not wait for a slow storage: it gets no copy then, and another machine encodes the image.
        if self._shared and self._unshared.acquire(blocking=not urgent):
            self._sharer.submit(self._write, self._shared, key, tensors, self._unshared)

    def _write_later(self, disk: DiskTier, key: str, tensors: Tensors) -> None:
        self._unwritten.acquire()
        self._writer.submit(self._write, disk, key, tensors, self._unwritten)

    def _write(self, tier: Tier, key: str, tensors: Tensors, unwritten: threading.Semaphore) -> None:
        try:
            tier.put(key, tensors)
        except (OSError, SafetensorError, RuntimeError, ValueError) as e:
            logger.warning("The embedding %s could not be stored (%s): %s", key, tier.name, e)
        finally:
            unwritten.release()

    @contextmanager
    def _alone(self, image: str) -> Iterator[None]:
        """Holds the image's own lock, so that callers of other images do not wait."""
        with self._guard:
            lock = self._encoding.setdefault(image, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._guard:
                # Waiting threads hold their own reference to the lock, and then find the embedding in the cache.
                self._encoding.pop(image, None)


def embedding_cache(settings: Settings, *, device: str, metrics: Metrics) -> EmbeddingCache:
    """Returns a cache with the tiers that the settings name, for a model on `device`, without tiers of 0 bytes."""
    memory = []
    if device != "cpu" and settings.embedding_device_bytes:
        memory.append(MemoryTier("device", device=device, max_bytes=settings.embedding_device_bytes))
    if settings.embedding_host_bytes:
        memory.append(MemoryTier("host", device="cpu", max_bytes=settings.embedding_host_bytes))
    folder = settings.data_dir / "embeddings"
    disk = DiskTier(folder, max_bytes=settings.embedding_disk_bytes) if settings.embedding_disk_bytes else None
    storage, most = open_storage(settings), settings.embedding_shared_bytes
    shared = SharedTier(storage, settings.cache_path / SHARED, max_bytes=most) if storage and most else None
    return EmbeddingCache(memory, disk=disk, shared=shared, metrics=metrics)
