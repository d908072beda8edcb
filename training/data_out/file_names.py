"""Makes file and folder names from names that others chose: none leads elsewhere, is refused, or is too long."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# File systems allow 255 bytes, and one letter may take four; callers add a number and an extension.
MAX_BYTES = 150
# Names that Windows reserves for devices.
RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)
# Unicode's categories of letters, marks (such as the vowel signs of Devanagari) and numbers.
KEPT_CATEGORIES = "LMN"


def file_name(text: str, *, otherwise: str = "_") -> str:
    """Replaces all but letters, marks, numbers, spaces, `-` and `_` with `_`; `otherwise` where nothing is left."""
    safe = "".join(character if _is_kept(character) else "_" for character in text)
    name = safe.encode("utf-8", "replace")[:MAX_BYTES].decode("utf-8", "ignore").strip() or otherwise
    return f"_{name}" if RESERVED.fullmatch(name) else name


def folder_names(labels: Iterable[str]) -> dict[str, str]:
    """Returns a folder's name for each label; no two are one name to a file system that ignores case.

    Where names are equal, the later labels get a number: `saree`, `Saree_2`.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in dict.fromkeys(labels):
        plain = name = file_name(label)
        number = 1
        while _folded(name) in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(_folded(name))
        names[label] = name
    return names


def _is_kept(character: str) -> bool:
    return character in " -_" or unicodedata.category(character)[0] in KEPT_CATEGORIES


def _folded(name: str) -> str:
    """Returns the same text for all names that macOS or Windows take for one: those also equate composed letters."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
