"""Embeddings of encoded images, kept in tiers: on the device, in the host's memory, on disk, in a shared storage.

An embedding is a dictionary of named tensors. It is named by the image's content, the model, its precision and the head
that reads it, so that a changed image or model never meets another's. One image is encoded once however many ask for
it, and who asks for a kept one never waits for another image's encoding.
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
from backend.storage.store import storage_of
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

UNWRITTEN = 4


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
