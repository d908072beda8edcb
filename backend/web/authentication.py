"""Checks credentials before a body is read: HTTP Basic everywhere, or the secret header for webhooks."""

from __future__ import annotations

import secrets
from base64 import b64decode
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasicCredentials
from fastapi.security.utils import get_authorization_scheme_param

from backend.label_studio.client import SECRET_HEADER
from backend.settings import Settings

WEBHOOK, LIVE = "/webhook", "/live"


def asks_for_page(request: Request) -> bool:
    """Whether a browser opens a page here, rather than a program that asks."""
    return "text/html" in request.headers.get("accept", "")


class Unauthorized(Exception):
    """Wrong or missing credentials."""


def credentials_of(request: Request) -> HTTPBasicCredentials | None:
    """HTTP Basic in UTF-8, as browsers send it (RFC 7617), or in Latin-1, as Label Studio does.

    FastAPI's own class reads ASCII alone.

    Returns:
        The credentials; None if there are none, or they cannot be read.
    """
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


def _equal(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def check_credentials(request: Request, settings: Settings, *, webhook: bool = False) -> None:
    """Refuses a request without the configured credentials.

    These are HTTP Basic everywhere. Label Studio adds headers but no credentials to a webhook, which may carry the
    secret header instead. Without a configured user (and, for webhooks, secret) all requests pass.

    Raises:
        Unauthorized: the credentials are missing or wrong.
    """
    secret = request.headers.get(SECRET_HEADER)
    if webhook and settings.webhook_secret and secret is not None and _equal(secret, settings.webhook_secret):
        return
    if not (settings.basic_auth_user or (webhook and settings.webhook_secret)):
        return
    credentials = credentials_of(request)
    # If only the secret is configured, only the secret is valid: otherwise any credentials would pass.
    if credentials is None or not settings.basic_auth_user:
        raise Unauthorized
    # Both are always compared, so that the time of the answer does not reveal which was wrong.
    user_matches = _equal(credentials.username, settings.basic_auth_user)
    password_matches = _equal(credentials.password, settings.basic_auth_pass)
    if not (user_matches and password_matches):
        raise Unauthorized


def authenticated_routes(settings: Settings) -> type[APIRoute]:
    """Makes a class of routes that check credentials before anything else, except `LIVE` where a program asks.

    Not a dependency: FastAPI reads a body before those. And without a thread: a flood of requests takes them all.
    """

    class AuthenticatedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def handle_authenticated(request: Request) -> Response:
                # Proxies and health checks have no credentials; they learn nothing there. A browser gets a page.
                if self.path != LIVE or asks_for_page(request):
                    check_credentials(request, settings, webhook=self.path == WEBHOOK)
                return await handle(request)

            return handle_authenticated

    return AuthenticatedRoute
