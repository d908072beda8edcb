"""Caches embeddings of images in tiers: on the device, in the host's memory, on disk, in a shared storage.

An embedding is a dictionary of named tensors. Its key names the image's content and size, the model, its precision and
the head that reads it, so that a changed image or model never gets another's embedding, nor a photograph that of a
reduced copy. An image is encoded once, however many
callers ask for it, and a caller whose embedding is cached never waits for another image's encoding.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from safetensors import SafetensorError

from backend.domain import Photo
from backend.segmenters.embedding_files import Tensors
from backend.segmenters.embedding_tiers import SHARED, DiskTier, MemoryTier, SharedTier, Tier
from backend.settings import Settings
from backend.storage.store import open_storage
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

MAX_UNWRITTEN = 4


def embedding_name(image: Photo, *model: str) -> str:
    """Returns the name of an image's embedding.

    Args:
        model: what identifies the model's weights and precision.
    """
    width, height = image.size_wh
    return "-".join([image.key, f"{width}x{height}", *model])


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
        self._persistent: list[DiskTier | SharedTier] = [tier for tier in (disk, shared) if tier]
        self._metrics = metrics
        self._turns = EncoderTurns()
        self._encoding_locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self._write_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="write-embedding")
        # Embeddings that wait to be written take memory beyond the tiers' limits, so a faster encoder has to wait.
        self._write_slots = threading.Semaphore(MAX_UNWRITTEN)
        self._share_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="share-embedding")
        self._share_slots = threading.Semaphore(MAX_UNWRITTEN)
        for tier in [*self._memory, *self._persistent]:
            # The size is read whenever the metrics are.
            metrics.embedding_bytes.labels(tier=tier.name).set_function(partial(getattr, tier, "used_bytes"))

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
        cached = self._lookup(f"{image}-{head}", counted=True)
        if cached is not None:
            return cached
        with self._encoding_lock(image):
            # The thread that held the lock before may have encoded the image.
            cached = self._lookup(f"{image}-{head}", counted=False)
            if cached is not None:
                return cached
            with self._turns.turn(urgent=urgent):
                started = time.perf_counter()
                embeddings = encode()
                self._metrics.encode_seconds.observe(time.perf_counter() - started)
            for name, tensors in embeddings.items():
                self._store(f"{image}-{name}", tensors, urgent=urgent)
            return embeddings[head]

    def has(self, image: str, head: str) -> bool:
        """Returns whether any tier has the embedding; reads no embedding from disk."""
        key = f"{image}-{head}"
        in_memory = any(tier.get(key) is not None for tier in self._memory)
        return in_memory or any(tier.has(key) for tier in self._persistent)

    def wait_until_written(self) -> None:
        """Waits until all embeddings of earlier calls are written."""
        # Each pool has one thread, which works in order.
        for pool in (self._write_pool, self._share_pool):
            pool.submit(lambda: None).result()

    def _lookup(self, key: str, *, counted: bool) -> Tensors | None:
        tiers: list[Tier] = [*self._memory, *self._persistent]
        for number, tier in enumerate(tiers):
            tensors = tier.get(key)
            if tensors is None:
                continue
            self._count(tier.name, counted)
            if tier is self._shared and self._disk:
                self._write_later(self._disk, key, tensors)
            if number:
                self._store_in_memory(key, tensors)
                # The fastest tier's copy is in the memory of the device that computes.
                return tiers[0].get(key) or tensors
            return tensors
        self._count("miss", counted)
        return None

    def _count(self, outcome: str, counted: bool) -> None:
        if counted:
            self._metrics.embedding_lookups.labels(outcome=outcome).inc()

    def _store_in_memory(self, key: str, tensors: Tensors) -> None:
        """Stores the embedding in memory; embeddings that a tier evicts move to the next slower memory tier."""
        moving = [(key, tensors)]
        for tier in self._memory:
            moving = [evicted for moved_key, moved in moving for evicted in tier.put(moved_key, moved)]
            self._metrics.embedding_evictions.labels(tier=tier.name).inc(len(moving))

    def _store(self, key: str, tensors: Tensors, *, urgent: bool) -> None:
        self._store_in_memory(key, tensors)
        if self._disk:
            self._write_later(self._disk, key, tensors)
        # An annotator does not wait for a slow storage: it gets no copy then, and another machine encodes the image.
        if self._shared and self._share_slots.acquire(blocking=not urgent):
            self._share_pool.submit(self._write, self._shared, key, tensors, self._share_slots)

    def _write_later(self, disk: DiskTier, key: str, tensors: Tensors) -> None:
        self._write_slots.acquire()
        self._write_pool.submit(self._write, disk, key, tensors, self._write_slots)

    def _write(self, tier: Tier, key: str, tensors: Tensors, slots: threading.Semaphore) -> None:
        try:
            tier.put(key, tensors)
        except (OSError, SafetensorError, RuntimeError, ValueError) as e:
            logger.warning("The embedding %s could not be stored (%s): %s", key, tier.name, e)
        finally:
            slots.release()

    @contextmanager
    def _encoding_lock(self, image: str) -> Iterator[None]:
        """Holds the image's own lock, so that callers of other images do not wait."""
        with self._guard:
            lock = self._encoding_locks.setdefault(image, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._guard:
                # Waiting threads hold their own reference to the lock, and then find the embedding in the cache.
                self._encoding_locks.pop(image, None)


def embedding_cache(settings: Settings, *, device: str, metrics: Metrics) -> EmbeddingCache:
    """Returns a cache with the tiers that the settings name, for a model on `device`, without tiers of 0 bytes."""
    memory = []
    if device != "cpu" and settings.embedding_device_bytes:
        memory.append(MemoryTier("device", device=device, max_bytes=settings.embedding_device_bytes))
    if settings.embedding_host_bytes:
        memory.append(MemoryTier("host", device="cpu", max_bytes=settings.embedding_host_bytes))
    folder = settings.data_dir / "embeddings"
    # With a limit of 0 bytes it deletes what an earlier, higher limit has left.
    disk = DiskTier(folder, max_bytes=settings.embedding_disk_bytes)
    storage, max_bytes = open_storage(settings), settings.embedding_shared_bytes
    shared = SharedTier(storage, settings.cache_path / SHARED, max_bytes=max_bytes) if storage and max_bytes else None
    return EmbeddingCache(memory, disk=disk if settings.embedding_disk_bytes else None, shared=shared, metrics=metrics)
