"""Makes file and folder names from names that others chose: none leads elsewhere, is refused, or is too long."""

from __future__ import annotations

import re

# File systems allow 255 bytes, and one letter may take four; callers add a number and an extension.
MAX_BYTES = 150
# Names that Windows reserves for devices.
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)


def file_name(text: str, *, otherwise: str = "_") -> str:
    """Replaces all but letters, digits, spaces, `-` and `_` with `_`; returns `otherwise` where nothing is left."""
    safe = "".join(character if character.isalnum() or character in " -_" else "_" for character in text)
    name = safe.encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore").strip() or otherwise
    return f"_{name}" if RESERVED.fullmatch(name) else name
