"""The id of the current request, or of the request that queued the current job: for log records and the answer.

Label Studio's requests carry no id unless a proxy in front of the backend adds one; then the backend uses that id, so
that both logs name the request in the same way.
"""

from __future__ import annotations

import contextvars
import logging
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

HEADER = "X-Request-ID"
# A received id is written into logs and into Redis, so it must be short and must not contain a line end.
ALLOWED = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The key in a job's `meta`.
JOB_META = "request_id"
_HEADER = HEADER.lower().encode()
_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
_job_id: contextvars.ContextVar[str] = contextvars.ContextVar("job_id", default="")


def request_id() -> str:
    """The id of the request that this code works for; '' if there is none."""
    return _request_id.get()


def job_id() -> str:
    """The id of the RQ job that this code runs in; '' outside of jobs."""
    return _job_id.get()


def set_request_id(request: str) -> None:
    """Sets the request id of this thread; also the initializer of new threads, which start without an id."""
    _request_id.set(request)


def request_meta() -> dict[str, str]:
    """The `meta` for a job that is queued now: the id of the current request, if there is one."""
    return {JOB_META: request_id()} if request_id() else {}


@contextmanager
def job_context(job: str, meta: dict[str, Any]) -> Iterator[None]:
    """Sets the ids while a job runs: its log records, and the jobs that it queues, carry the id of its request."""
    received = str(meta.get(JOB_META, ""))
    request_token = _request_id.set(received if ALLOWED.fullmatch(received) else "")
    job_token = _job_id.set(job)
    try:
        yield
    finally:
        _job_id.reset(job_token)
        _request_id.reset(request_token)


def valid_or_new_id(received: str) -> str:
    """`received`, if it is short and plain; else a new id of 16 hexadecimal digits."""
    return received if ALLOWED.fullmatch(received) else secrets.token_hex(8)


class RequestIds:
    """ASGI middleware around the whole service: gives each request its id, and logs how it was answered.

    It is not Starlette's `BaseHTTPMiddleware`, which costs each request a task and a stream.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = next((value for name, value in scope["headers"] if name == _HEADER), b"")
        current = valid_or_new_id(received.decode("latin-1"))
        # Never reset: the server runs each request in a task of its own, and afterwards logs exceptions that escape it.
        _request_id.set(current)
        started, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), (_HEADER, current.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            # Requests that are repeated all the time (health, status, metrics) change nothing and would hide the rest.
            level = logging.DEBUG if scope["method"] in ("GET", "HEAD") else logging.INFO
            took_ms = (time.perf_counter() - started) * 1000
            logger.log(level, "%s %s: %s in %.0f ms", scope["method"], scope["path"], status, took_ms)
