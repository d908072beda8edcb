"""Webhooks told by a process of their own, as Label Studio's are: what they take is not what the annotators' takes.

Beside each the same is told to a server that only answers, in a process of its own: what the machine itself takes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from backend.label_studio.client import SECRET_HEADER
from launcher.stack.supervisor import free_port

PATIENCE_S = 30.0


@dataclass
class Told:
    """What came of them; filled when they end.

    Attributes:
        taken_ms: pairs of when each was told, in seconds as `time.monotonic` counts, and the milliseconds it took.
        bare_ms: the same of the server that only answers.
        errors: sentences about those that were not acknowledged.
    """

    taken_ms: list[tuple[float, float]] = field(default_factory=list)
    bare_ms: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def telling(url: str, *, secret: str, event: Mapping[str, Any], every_s: float) -> Iterator[Told]:
    """Tells the backend at `url` the event, again and again for as long as the block lasts."""
    context = get_context("spawn")
    over, (here, there), port = context.Event(), context.Pipe(duplex=False), free_port()
    bare = context.Process(target=_only_answer, args=(port,), daemon=True)
    teller = context.Process(target=_tell, args=(url, port, secret, dict(event), every_s, over, there), daemon=True)
    bare.start()
    teller.start()
    there.close()
    told = Told()
    try:
        yield told
    finally:
        over.set()
        try:
            found = here.recv()
            told.taken_ms, told.bare_ms, told.errors = found.taken_ms, found.bare_ms, found.errors
        except EOFError:
            told.errors.append("webhook: the process that tells them has died")
        teller.join(PATIENCE_S)
        bare.terminate()
        bare.join(PATIENCE_S)


def _only_answer(port: int) -> None:
    async def answer(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse({"queued": "nothing"}, 201)

    uvicorn.run(Starlette(routes=[Route("/webhook", answer, methods=["POST"])]), port=port, log_level="critical")


def _tell(
    url: str, bare_port: int, secret: str, event: dict[str, Any], every_s: float, over: Event, answers: Connection
) -> None:
    told = Told()
    sides = ((url, told.taken_ms), (f"http://127.0.0.1:{bare_port}", told.bare_ms))
    # A connection for each, as Label Studio opens them.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(headers={SECRET_HEADER: secret}, timeout=PATIENCE_S, limits=limits) as client:
        if not _answers(client, sides[1][0], over):
            told.errors.append("webhook: none was told, as the server that only answers has not started")
        while not over.is_set():
            for side, taken_ms in sides:
                began = time.monotonic()
                try:
                    client.post(f"{side}/webhook", json=event).raise_for_status()
                    taken_ms.append((began, 1000 * (time.monotonic() - began)))
                except httpx.HTTPError as e:
                    told.errors.append(f"webhook: {type(e).__name__} {e}"[:300])
            over.wait(every_s)
    answers.send(told)


def _answers(client: httpx.Client, url: str, over: Event) -> bool:
    """Whether it does before all is over."""
    while not over.wait(0.1):
        with suppress(httpx.TransportError):
            client.get(url)
            return True
    return False
