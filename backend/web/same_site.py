"""Refuses what another site's page has sent with the browser's credentials."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request

from backend.errors import ForbiddenError


def of_this_page(request: Request) -> None:
    """Refuses what another site's page has sent: browsers add the credentials that they know to whatever is sent here.

    Raises:
        ForbiddenError: it came from elsewhere.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    elsewhere = origin is not None and urlsplit(origin).netloc != request.headers.get("host")
    if elsewhere or site not in ("same-origin", "none"):
        raise ForbiddenError("This came from another site's page. Buttons work on the status page itself alone.")
