"""What others have named, where it is written on a line: a log's, a terminal's."""

from __future__ import annotations

# A terminal obeys controls, some readers end a line at more than a line feed, and the last kinds turn the order of what
# follows around.
OBEYED = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = {code: f"\\u{code:04x}" for code in OBEYED} | {ord("\n"): "\\n", ord("\r"): "\\r"}
_SHOWN_BETWEEN_LINES = {code: shown for code, shown in _SHOWN.items() if code != ord("\n")}


def one_line(text: str) -> str:
    """The text with all that is no sign of writing spelled out, as in JSON."""
    return text.translate(_SHOWN)


def lines(text: str) -> str:
    """The same, but for the ends of lines."""
    return text.translate(_SHOWN_BETWEEN_LINES)
