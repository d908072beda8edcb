"""Webhooks told by a process of their own, as Label Studio's are: what they take is not what the annotators' takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

import httpx

from backend.labelstudio import SECRET_HEADER

PATIENCE_S = 30.0


@dataclass
class Told:
    """What came of them; filled when they end.

    Attributes:
        taken_ms: pairs of when each was told, in seconds as `time.monotonic` counts, and the milliseconds it took.
        errors: sentences about those that were not acknowledged.
    """

    taken_ms: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def telling(url: str, *, secret: str, event: Mapping[str, Any], every_s: float) -> Iterator[Told]:
    """Tells the backend at `url` the event, again and again for as long as the block lasts."""
    context = get_context("spawn")
    over, (here, there) = context.Event(), context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(url, secret, dict(event), every_s, over, there), daemon=True)
    process.start()
    there.close()
    told = Told()
    try:
        yield told
    finally:
        over.set()
        try:
            found = here.recv()
            told.taken_ms, told.errors = found.taken_ms, found.errors
        except EOFError:
            told.errors.append("webhook: the process that tells them has died")
        process.join(PATIENCE_S)


def _tell(url: str, secret: str, event: dict[str, Any], every_s: float, over: Event, answers: Connection) -> None:
    told = Told()
    # A connection for each, as Label Studio opens them.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=url, headers={SECRET_HEADER: secret}, timeout=PATIENCE_S, limits=limits) as client:
        while not over.is_set():
            began = time.monotonic()
            try:
                client.post("/webhook", json=event).raise_for_status()
                told.taken_ms.append((began, 1000 * (time.monotonic() - began)))
            except httpx.HTTPError as e:
                told.errors.append(f"webhook: {type(e).__name__} {e}"[:300])
            over.wait(every_s)
    answers.send(told)
