"""Makes text from outside safe to write on a line of a log or a terminal."""

from __future__ import annotations

# A terminal executes control characters, some readers end a line at more than a line feed, and the last two ranges
# reverse the order of the text that follows.
OBEYED = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN = {code: f"\\u{code:04x}" for code in OBEYED} | {ord("\n"): "\\n", ord("\r"): "\\r"}
_SHOWN_BETWEEN_LINES = {code: shown for code, shown in _SHOWN.items() if code != ord("\n")}


def one_line(text: str) -> str:
    """The text with control, line-end and direction characters written as escapes, as in JSON."""
    return text.translate(_SHOWN)


def lines(text: str) -> str:
    """The text with the same characters escaped, except for line feeds."""
    return text.translate(_SHOWN_BETWEEN_LINES)
