"""`drape doctor` checks Label Studio itself: its address, its version, its clock, and our token."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from backend.errors import LabelStudioError, LabelStudioUnavailableError
from backend.label_studio.client import LabelStudio
from backend.label_studio.connection import fetch_version
from backend.settings import Settings
from launcher.doctor.findings import Finding, compare_clocks, run_check

# The release that the tests run against; see requirements-label-studio.txt.
SUPPORTED = "1.23"
LEGACY_TOKEN = re.compile(r"[0-9a-f]{40}")
EXPIRES_SOON_S = 14 * 24 * 3600
START_IT = "Start it (`make up`, `docker-compose up`), or set LABEL_STUDIO_URL to the address of yours."
NEW_TOKEN = "Copy a personal access token from the account page of Label Studio, and set LABEL_STUDIO_API_KEY to it."


def check_label_studio(settings: Settings) -> list[Finding]:
    """Checks whether Label Studio answers, has a version that is known to work, and accepts our token."""
    findings = run_check("Label Studio", lambda: _check_server(settings), remedy=START_IT)
    if not any(finding.state == "failed" for finding in findings):
        findings += run_check("token", lambda: _check_token(settings), remedy=NEW_TOKEN)
    return findings


def _check_server(settings: Settings) -> Iterator[Finding]:
    url = settings.label_studio_url.rstrip("/")
    if not url:
        message = "LABEL_STUDIO_URL is not set, and `drape up` has not stored one in this data directory."
        yield Finding("Label Studio", "failed", message, START_IT)
        return
    try:
        answer = fetch_version(url, timeout_s=settings.label_studio_timeout_s)
        local_s = time.time()
        release = str(answer.json()["release"])
    except httpx.HTTPStatusError as e:
        raise LabelStudioError(f"Label Studio at {url} answers {e.response.status_code}.") from e
    except httpx.InvalidURL as e:
        raise LabelStudioError(f"'{url}' (LABEL_STUDIO_URL) is not an address.") from e
    except httpx.HTTPError as e:
        raise LabelStudioUnavailableError(f"Label Studio does not answer at {url} ({type(e).__name__}).") from e
    except (ValueError, KeyError, TypeError) as e:
        raise LabelStudioError(f"The program that answers at {url} is not Label Studio.") from e
    if release.startswith(f"{SUPPORTED}."):
        yield Finding("Label Studio", "ok", f"Label Studio {release} answers at {url}.")
    else:
        yield Finding(
            "Label Studio",
            "warning",
            f"Label Studio {release} answers at {url}; Drape is tested with {SUPPORTED}.x.",
            f"If something does not work, try Label Studio {SUPPORTED}.",
        )
    date = answer.headers.get("Date")
    if date:
        remote_s = parsedate_to_datetime(date).timestamp()
        yield compare_clocks("Label Studio's clock", remote_s=remote_s, local_s=local_s)


def _check_token(settings: Settings) -> Iterator[Finding]:
    token = settings.label_studio_api_key
    if not token:
        yield Finding("token", "failed", "LABEL_STUDIO_API_KEY is not set.", NEW_TOKEN)
        return
    legacy = LEGACY_TOKEN.fullmatch(token) is not None
    kind = "legacy token" if legacy else "personal access token"
    label_studio = LabelStudio(settings)
    try:
        with label_studio.api() as sdk:
            account = sdk.users.whoami()
    except LabelStudioUnavailableError:
        raise
    except LabelStudioError as e:
        remedy = f"Label Studio 1.23 refuses legacy tokens by default. {NEW_TOKEN}" if legacy else NEW_TOKEN
        yield Finding("token", "failed", f"The {kind} does not work. {e}", remedy)
        return
    message = f"The {kind} works. Its account is {account.email}."
    left_s = _expiry_s(token) - time.time()
    if left_s < EXPIRES_SOON_S:
        yield Finding("token", "warning", f"{message} It expires in {left_s / 86_400:.0f} days.", NEW_TOKEN)
    else:
        yield Finding("token", "ok", message)


def _expiry_s(token: str) -> float:
    """When a personal access token expires, in seconds since 1970; infinity if the token does not say."""
    parts = token.split(".")
    if len(parts) != 3:
        return float("inf")
    try:
        payload = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(payload["exp"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
