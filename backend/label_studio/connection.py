"""The connection to Label Studio: its SDK, the account's token, and failures as sentences."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from label_studio_sdk import LabelStudio as Sdk
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.parse_error import ParsingError

from backend.errors import LabelStudioError, LabelStudioUnavailableError
from backend.settings import Settings

# Access tokens are valid for some minutes.
RENEWAL_MARGIN = timedelta(seconds=60)


class Connection:
    """The connection of one account to one Label Studio. Connects on first use; thread-safe.

    Every method raises `LabelStudioError` if Label Studio refuses the key or answers with an error, and its subclass
    `LabelStudioUnavailableError` if Label Studio does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sdk: Sdk | None = None
        self._lock = threading.Lock()

    @property
    def sdk(self) -> Sdk:
        """The SDK's client; `api` also translates its errors."""
        with self._lock:
            if self._sdk is None:
                url, key = self._settings.label_studio_url, self._settings.label_studio_api_key
                timeout_s = self._settings.label_studio_timeout_s
                if not url or not key:
                    raise LabelStudioError("LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not set.")
                with self._translated_errors():
                    self._sdk = Sdk(
                        base_url=url, api_key=key, timeout=timeout_s, httpx_client=_http_client(url, timeout_s)
                    )
            # The SDK renews only expired tokens, but one that expires on its way to a busy Label Studio is refused.
            tokens, soon = self._sdk._client_wrapper._tokens_client, datetime.now(timezone.utc) + RENEWAL_MARGIN
            if tokens._access_token_expiration is not None and tokens._access_token_expiration < soon:
                tokens._access_token = None
            return self._sdk

    @contextmanager
    def api(self) -> Iterator[Sdk]:
        """Yields the SDK's client, and turns errors of calls in the block into a `LabelStudioError`."""
        sdk = self.sdk
        with self._translated_errors():
            yield sdk

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        url = self._settings.label_studio_url
        try:
            yield
        except ApiError as e:
            if e.status_code in (401, 403) and "reserved network address" not in str(e.body):
                raise LabelStudioError(f"Label Studio at {url} refuses the API key ({e.status_code}).") from e
            error_type = LabelStudioUnavailableError if (e.status_code or 0) >= 500 else LabelStudioError
            raise error_type(f"Label Studio at {url} answered {e.status_code}: {_reason(e.body)}") from e
        except httpx.HTTPError as e:
            raise LabelStudioUnavailableError(f"Label Studio does not answer at {url} ({type(e).__name__}).") from e
        except (json.JSONDecodeError, ParsingError) as e:
            # A proxy answers with a page of its own while Label Studio behind it starts.
            raise LabelStudioUnavailableError(f"The server at {url} is not Label Studio.") from e

    def bearer(self) -> str:
        """The current value of the `Authorization` header; renews a personal access token as needed."""
        with self.api() as sdk:
            # The SDK exchanges the token in this call, and has no public way to get the result.
            return str(sdk._client_wrapper.get_headers()["Authorization"])

    def send(self, method: str, path: str, *, timeout_s: float | None = None, **content: Any) -> httpx.Response:
        """Sends a request that the SDK has no call for; returns the answer, whatever its status.

        Args:
            path: begins with `/`.
            timeout_s: in seconds; None for the setting's value.
            content: arguments of `httpx.request`, such as `params`, `json`, `files`.
        """
        url, headers = f"{self._settings.label_studio_url.rstrip('/')}{path}", {"Authorization": self.bearer()}
        with self._translated_errors():
            return httpx.request(
                method, url, headers=headers, timeout=timeout_s or self._settings.label_studio_timeout_s, **content
            )


def fetch_version(url: str, *, timeout_s: float) -> httpx.Response:
    """Asks Label Studio for its version, which needs no account; it is `release` in the answer's JSON.

    Raises:
        httpx.HTTPError, httpx.InvalidURL: Label Studio does not answer, or answers with an error.
    """
    answer = httpx.get(f"{url.rstrip('/')}/api/version/", timeout=timeout_s, follow_redirects=True)
    return answer.raise_for_status()


def _http_client(url: str, timeout_s: float) -> httpx.Client:
    # Label Studio's own server writes an answer in two pieces. On a kept-alive connection the second waits 40 ms, for
    # the first one's delayed acknowledgement; a new connection costs less, unless it needs a TLS handshake.
    max_idle = None if url.startswith("https:") else 0
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=max_idle)
    # Only Linux has this option. Through a proxy it would watch the connection to the proxy, not to Label Studio.
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or (getproxies() and not proxy_bypass(urlsplit(url).hostname or "")):
        return httpx.Client(timeout=timeout_s, follow_redirects=True, limits=limits)
    # Without it, the system sends the data of a timed-out request again as soon as a broken network works: predictions
    # that a retry has stored meanwhile would be stored twice.
    tcp_timeout = (socket.IPPROTO_TCP, option, int(1000 * timeout_s))
    transport = httpx.HTTPTransport(limits=limits, socket_options=[tcp_timeout])
    return httpx.Client(timeout=timeout_s, follow_redirects=True, transport=transport)


def _reason(body: Any) -> str:
    if isinstance(body, dict):
        body = body.get("validation_errors") or body.get("detail") or body
    return str(body)[:300]
