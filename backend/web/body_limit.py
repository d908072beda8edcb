"""Refuses requests whose body is too large, with a sentence, before more of it is read than the limit allows."""

from __future__ import annotations

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import TooLargeError

STATUS = TooLargeError.http_status


async def limited_body(request: Request, *, max_bytes: int, what: str) -> bytes:
    """Reads a body that a route allows less than `REQUEST_MAX_BYTES`, and no more of it than that.

    Args:
        max_bytes: the largest size of the body, in bytes.
        what: what the body is, for the message.

    Raises:
        TooLargeError: the body is larger.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLargeError(f"The {what} is larger than {max_bytes / 1e6:g} MB. Send a smaller one.")
    return bytes(body)


class BodyLimit:
    """ASGI middleware around the whole service. It counts bodies without a stated length as they arrive.

    Args:
        max_bytes: the largest size of a body, in bytes.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        content_length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if content_length.isdigit() and int(content_length) > self._max_bytes:
            await JSONResponse({"detail": self._refusal}, status_code=STATUS)(scope, receive, send)
            return
        received_bytes = 0

        async def limited_receive() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self._max_bytes:
                # FastAPI reports every other kind of error here as a body that cannot be parsed.
                raise HTTPException(STATUS, self._refusal)
            return message

        await self._app(scope, limited_receive, send)

    @property
    def _refusal(self) -> str:
        return (
            f"The request is larger than {self._max_bytes / 1e6:g} MB (REQUEST_MAX_BYTES). Send fewer tasks at once "
            "or a smaller photograph, or raise the setting."
        )
