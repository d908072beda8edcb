"""Names that others gave, as names of files and folders: none leads elsewhere, is refused, or is too long."""

from __future__ import annotations

import re

# Systems take 255 bytes, of which a letter may have four; a number and an ending come on top.
LONGEST_BYTES = 150
# What Windows keeps for devices.
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)


def file_name(text: str, *, otherwise: str = "_") -> str:
    """Letters, digits, spaces, `-` and `_` of the text, `_` for all else; `otherwise` where nothing is left."""
    kept = "".join(one if one.isalnum() or one in " -_" else "_" for one in text)
    name = kept.encode("utf-8", "replace")[:LONGEST_BYTES].decode("utf-8", "ignore").strip() or otherwise
    return f"_{name}" if RESERVED.fullmatch(name) else name
