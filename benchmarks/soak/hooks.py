"""Sends webhooks from a process of its own, as Label Studio does: their times do not include the annotators' load.

Each event is also sent to a baseline server that only answers: its times show what the machine itself takes.
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

TIMEOUT_S = 30.0


@dataclass
class WebhookTimings:
    """The times of the webhooks; filled when the block ends.

    Attributes:
        taken_ms: for each the time when it was sent (`time.monotonic`, in seconds), and the milliseconds it took.
        baseline_ms: the same for the baseline server.
        errors: a sentence for each webhook that was not acknowledged.
    """

    taken_ms: list[tuple[float, float]] = field(default_factory=list)
    baseline_ms: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@contextmanager
def sending_webhooks(url: str, *, secret: str, event: Mapping[str, Any], every_s: float) -> Iterator[WebhookTimings]:
    """Sends the event to the backend at `url` every `every_s` seconds while the block lasts."""
    context = get_context("spawn")
    stop, (receiver, sender), port = context.Event(), context.Pipe(duplex=False), free_port()
    baseline = context.Process(target=_run_baseline_server, args=(port,), daemon=True)
    sending = context.Process(target=_send, args=(url, port, secret, dict(event), every_s, stop, sender), daemon=True)
    baseline.start()
    sending.start()
    sender.close()
    timings = WebhookTimings()
    try:
        yield timings
    finally:
        stop.set()
        try:
            result = receiver.recv()
            timings.taken_ms, timings.baseline_ms, timings.errors = result.taken_ms, result.baseline_ms, result.errors
        except EOFError:
            timings.errors.append("webhook: the sending process has died")
        sending.join(TIMEOUT_S)
        baseline.terminate()
        baseline.join(TIMEOUT_S)


def _run_baseline_server(port: int) -> None:
    async def answer(request: Request) -> JSONResponse:
        await request.json()
        return JSONResponse({"queued": "nothing"}, 201)

    uvicorn.run(Starlette(routes=[Route("/webhook", answer, methods=["POST"])]), port=port, log_level="critical")


def _send(
    url: str, bare_port: int, secret: str, event: dict[str, Any], every_s: float, stop: Event, results: Connection
) -> None:
    timings = WebhookTimings()
    targets = ((url, timings.taken_ms), (f"http://127.0.0.1:{bare_port}", timings.baseline_ms))
    # A connection for each, as Label Studio opens them.
    limits = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(headers={SECRET_HEADER: secret}, timeout=TIMEOUT_S, limits=limits) as client:
        if not _wait_for_answer(client, targets[1][0], stop):
            timings.errors.append("webhook: none was sent, because the baseline server has not started")
        while not stop.is_set():
            for target, taken_ms in targets:
                began = time.monotonic()
                try:
                    client.post(f"{target}/webhook", json=event).raise_for_status()
                    taken_ms.append((began, 1000 * (time.monotonic() - began)))
                except httpx.HTTPError as e:
                    timings.errors.append(f"webhook: {type(e).__name__} {e}"[:300])
            stop.wait(every_s)
    results.send(timings)


def _wait_for_answer(client: httpx.Client, url: str, stop: Event) -> bool:
    """Waits until the server answers; returns False if `stop` is set before."""
    while not stop.wait(0.1):
        with suppress(httpx.TransportError):
            client.get(url)
            return True
    return False
