"""Images that a task holds itself, as `data:image/png;base64,…` (RFC 2397), which Label Studio's page shows."""

from __future__ import annotations

import base64
import binascii
import hashlib
from urllib.parse import unquote_to_bytes

from backend.errors import ImageError

SCHEME = "data:"
# More of an address is never needed: the media type and the encoding stand before the first comma.
MAX_HEAD_CHARACTERS = 200


def is_data_url(url: str) -> bool:
    """Whether the address holds the image itself."""
    return url[: len(SCHEME)].lower() == SCHEME


def short_name(url: str) -> str:
    """The address; for a data URL, which may be megabytes, a short name that no other image has."""
    if not is_data_url(url):
        return url
    return f"{describe(url)}#{hashlib.sha256(url.encode('utf-8', 'replace')).hexdigest()}"


def describe(url: str) -> str:
    """A data URL without the image, for messages; characters that cannot be encoded are replaced."""
    head = url[:MAX_HEAD_CHARACTERS].partition(",")[0]
    return f"{head.encode('utf-8', 'replace').decode()},…"


def read_data_url(url: str, *, max_bytes: int) -> bytes:
    """The encoded image that a data URL holds.

    Raises:
        ImageError: it has more than `max_bytes`, is not a data URL, or its base64 is damaged.
    """
    head, comma, content = url.partition(",")
    if not comma:
        raise ImageError(f"The image '{describe(url)}' is empty: in such an address it stands behind a comma.")
    is_base64 = head.rstrip().lower().endswith(";base64")
    # Checked before it is decoded: no byte takes more than three characters.
    if len(content) > 3 * max_bytes:
        raise _too_large(url, max_bytes)
    encoded = unquote_to_bytes(content.encode("utf-8", "replace"))
    if is_base64:
        # Browsers accept it without the padding at its end, too.
        try:
            encoded = base64.b64decode(encoded + b"==")
        except binascii.Error as e:
            raise ImageError(f"The image '{describe(url)}' is cut short, or is not base64.") from e
    if len(encoded) > max_bytes:
        raise _too_large(url, max_bytes)
    return encoded


def _too_large(url: str, max_bytes: int) -> ImageError:
    return ImageError(f"The image '{describe(url)}' is larger than {max_bytes:,} bytes (IMAGE_MAX_BYTES).")
