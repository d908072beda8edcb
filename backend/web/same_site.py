"""Refuses requests that another site's page sends with the browser's credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request

from backend.errors import ForbiddenError


# Asynchronous, so that it needs no thread: a flood of requests takes all threads.
async def require_same_site(request: Request) -> None:
    """Refuses requests from other sites' pages: browsers add their stored credentials to any request to this host.

    Raises:
        ForbiddenError: the request came from another site's page.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if elsewhere or site not in ("same-origin", "none"):
        raise ForbiddenError("The request came from another site's page. Use the buttons on Drape's own pages.")
