"""Parses JSON bodies with pydantic alone, in half of FastAPI's time; large ones in another process.

A thread would not help: pydantic holds Python's global lock until it is done, half a second for 40 MB.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from anyio.to_process import run_sync
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

# Parsed in about 25 ms. Another process takes longer than that to get the body and to return what it found.
LARGE_BYTES = 2_000_000

Body = TypeVar("Body", bound=BaseModel)


def json_body(model: type[Body]) -> Callable[[Request], Coroutine[Any, Any, Body]]:
    """Makes a dependency that parses a request's body.

    It reads bodies of any content type. So the route also needs `require_same_site`: a browser lets other sites' pages
    send any body whose content type is not JSON.
    """

    async def parse(request: Request) -> Body:
        body = await request.body()
        parsed = _parse(model, body) if len(body) < LARGE_BYTES else await run_sync(_parse, model, body)
        if isinstance(parsed, list):
            raise RequestValidationError(parsed)
        return parsed

    return parse


def _parse(model: type[Body], body: bytes) -> Body | list[Any]:
    """The body as `model`, or what is wrong with it. Without the body itself, which would go back with the errors."""
    try:
        return model.model_validate_json(body)
    except ValidationError as e:
        return list(e.errors(include_url=False, include_context=False, include_input=False))
