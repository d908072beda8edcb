"""Refuses requests whose body is too large, with a sentence, before more of it is read than the limit allows."""

from __future__ import annotations

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

STATUS = 413


class BodyLimit:
    """ASGI middleware around the whole service. It counts bodies without a stated length as they arrive.

    Args:
        most_bytes: the largest size of a body, in bytes.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if stated.isdigit() and int(stated) > self._most_bytes:
            await JSONResponse({"detail": self._refusal}, status_code=STATUS)(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._most_bytes:
                # FastAPI reports every other kind of error here as a body that cannot be parsed.
                raise HTTPException(STATUS, self._refusal)
            return message

        await self._app(scope, counted, send)

    @property
    def _refusal(self) -> str:
        return (
            f"The request is larger than {self._most_bytes / 1e6:g} MB (REQUEST_MAX_BYTES). Send fewer tasks at once, "
            "or raise the setting."
        )
