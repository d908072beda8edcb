"""`drape doctor` checks the shared storage: whether this machine can write to it, list, read and delete."""

from __future__ import annotations

import time
from collections.abc import Iterator
from secrets import token_hex

from backend.errors import StorageError
from backend.settings import Settings
from backend.storage.store import Storage, open_storage
from launcher.doctor.findings import Finding, compare_clocks, run_check

PROBES = "doctor"
REMEDY = "Check STORAGE_URL, the AWS_… variables, and the permissions of this account."


def check_storage(settings: Settings) -> list[Finding]:
    """Writes a probe, reads it and deletes it; does nothing if the data directory holds everything."""
    storage = open_storage(settings)
    if storage is None:
        return []
    return run_check("storage", lambda: _check_storage(storage), remedy=REMEDY)


def _check_storage(storage: Storage) -> Iterator[Finding]:
    name, content = f"{PROBES}/{token_hex(8)}", token_hex(16).encode()
    started = time.monotonic()
    stored = storage.write(name, content)
    local_s = time.time()
    try:
        if storage.list_under(PROBES).get(name) != stored or storage.read(name) != content:
            message = f"{storage.url} does not return what was just written."
            remedy = "Drape needs a storage that shows every write at once, as S3 does. Mount NFS with `actimeo=1`."
            yield Finding("storage", "failed", message, remedy)
            return
        if storage.create(name, b""):
            message = f"{storage.url} overwrites an object that exists, in spite of If-None-Match."
            remedy = "Two machines could give two models the same number: install a newer release of that server."
            yield Finding("storage", "failed", message, remedy)
            return
    finally:
        storage.remove(name)
    if name in storage.list_under(PROBES):
        raise StorageError(f"Objects in {storage.url} cannot be deleted.")
    duration_ms = 1000 * (time.monotonic() - started)
    yield Finding(
        "storage", "ok", f"Writing, listing, reading and deleting work in {storage.url} ({duration_ms:.0f} ms)."
    )
    yield compare_clocks("the storage's clock", remote_s=stored.written_at, local_s=local_s)
