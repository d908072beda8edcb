"""`drape doctor` checks the shared storage: whether this machine can write to it, list, read and delete."""

from __future__ import annotations

import time
from collections.abc import Iterator
from secrets import token_hex

from backend.errors import StorageError
from backend.settings import Settings
from backend.storage.store import Storage, storage_of
from launcher.doctor.findings import Finding, clock, looked

PROBES = "doctor"
REMEDY = "Look at STORAGE_URL, at the AWS_… variables, and at what this account may do there."


def look_at_storage(settings: Settings) -> list[Finding]:
    """Writes a probe, reads it and deletes it; does nothing if the data directory holds everything."""
    storage = storage_of(settings)
    if storage is None:
        return []
    return looked("storage", lambda: _look(storage), remedy=REMEDY)


def _look(storage: Storage) -> Iterator[Finding]:
    name, content = f"{PROBES}/{token_hex(8)}", token_hex(16).encode()
    started = time.monotonic()
    kept = storage.write(name, content)
    ours_s = time.time()
    try:
        if storage.kept_under(PROBES).get(name) != kept or storage.read(name) != content:
            yield Finding(
                "storage",
                "failed",
                f"{storage.url} does not give back what was just written.",
                "Drape needs a storage that shows a writing at once, as S3 does; mount NFS with `actimeo=1`.",
            )
            return
        if storage.create(name, b""):
            yield Finding(
                "storage",
                "failed",
                f"{storage.url} overwrites what was to be made once (If-None-Match).",
                "Two machines could give two models one number: take a newer release of that server.",
            )
            return
    finally:
        storage.remove(name)
    if name in storage.kept_under(PROBES):
        raise StorageError(f"In {storage.url} nothing can be deleted.")
    took_ms = 1000 * (time.monotonic() - started)
    yield Finding("storage", "ok", f"{storage.url} can be written, listed, read and deleted from ({took_ms:.0f} ms).")
    yield clock("the storage's clock", theirs_s=kept.written_at, ours_s=ours_s)
