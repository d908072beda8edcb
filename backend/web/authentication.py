"""Checks credentials before a body is read: HTTP Basic everywhere, or the secret header for webhooks."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from backend.label_studio.client import SECRET_HEADER
from backend.settings import Settings

WEBHOOK, LIVE = "/webhook", "/live"
_basic = HTTPBasic(auto_error=False, realm="drape")


class Unauthorized(Exception):
    """Wrong or missing credentials."""


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def authenticate(settings: Settings, *, webhook: bool = False) -> Callable[..., Awaitable[None]]:
    """Makes a dependency that refuses requests without the configured credentials.

    These are HTTP Basic everywhere. Label Studio adds headers but no credentials to a webhook, which may carry the
    secret header instead. Without a configured user (and, for webhooks, secret) all requests pass.
    """

    # Asynchronous, so that it needs no thread: a flood of requests takes all threads.
    async def check(request: Request, credentials: Annotated[HTTPBasicCredentials | None, Depends(_basic)]) -> None:
        secret = request.headers.get(SECRET_HEADER)
        if webhook and settings.webhook_secret and secret is not None and _equal(secret, settings.webhook_secret):
            return
        if not (settings.basic_auth_user or (webhook and settings.webhook_secret)):
            return
        # If only the secret is configured, only the secret is valid: otherwise any credentials would pass.
        if credentials is None or not settings.basic_auth_user:
            raise Unauthorized
        # Both are always compared, so that the time of the answer does not reveal which was wrong.
        user_matches = _equal(credentials.username, settings.basic_auth_user)
        password_matches = _equal(credentials.password, settings.basic_auth_pass)
        if not (user_matches and password_matches):
            raise Unauthorized

    return check


def authenticated_routes(settings: Settings) -> type[APIRoute]:
    """Makes a route class that checks credentials before the body: FastAPI reads it before dependencies. Not `LIVE`."""

    class AuthenticatedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle, check = super().get_route_handler(), authenticate(settings, webhook=self.path == WEBHOOK)
            if self.path == LIVE:
                return handle

            async def handle_authenticated(request: Request) -> Response:
                await check(request, await _basic(request))
                return await handle(request)

            return handle_authenticated

    return AuthenticatedRoute
