"""Checks credentials before a body is read: HTTP Basic everywhere, or the secret header for webhooks."""

from __future__ import annotations

import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from fastapi.openapi.models import HTTPBase
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasicCredentials
from fastapi.security.base import SecurityBase
from fastapi.security.utils import get_authorization_scheme_param

from backend.label_studio.client import SECRET_HEADER
from backend.settings import Settings

WEBHOOK, LIVE = "/webhook", "/live"


class Unauthorized(Exception):
    """Wrong or missing credentials."""


class Basic(SecurityBase):
    """HTTP Basic in UTF-8, as browsers send it (RFC 7617), or in Latin-1, as Label Studio does.

    FastAPI's own class reads ASCII alone.
    """

    def __init__(self) -> None:
        self.model = HTTPBase(scheme="basic")
        self.scheme_name = "HTTPBasic"

    async def __call__(self, request: Request) -> HTTPBasicCredentials | None:
        """Returns the credentials; None if there are none, or they cannot be read."""
        scheme, encoded = get_authorization_scheme_param(request.headers.get("Authorization"))
        try:
            sent = b64decode(encoded, validate=True) if scheme.lower() == "basic" else b""
        except ValueError:
            return None
        try:
            user, colon, password = sent.decode().partition(":")
        except UnicodeDecodeError:
            user, colon, password = sent.decode("latin-1").partition(":")
        return HTTPBasicCredentials(username=user, password=password) if colon else None


basic = Basic()
GivenCredentials = Annotated[HTTPBasicCredentials | None, Depends(basic)]


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def authenticate(settings: Settings, *, webhook: bool = False) -> Callable[..., Awaitable[None]]:
    """Makes a dependency that refuses requests without the configured credentials.

    These are HTTP Basic everywhere. Label Studio adds headers but no credentials to a webhook, which may carry the
    secret header instead. Without a configured user (and, for webhooks, secret) all requests pass.
    """

    # Asynchronous, so that it needs no thread: a flood of requests takes all threads.
    async def check(request: Request, credentials: GivenCredentials) -> None:
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
                await check(request, await basic(request))
                return await handle(request)

            return handle_authenticated

    return AuthenticatedRoute
