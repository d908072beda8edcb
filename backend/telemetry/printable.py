"""Makes text from outside safe to write on a line of a log or a terminal."""

from __future__ import annotations

# A terminal executes control characters, some readers end a line at more than a line feed, and the last two ranges
# reverse the order of the text that follows.
CONTROL_CHARACTERS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: f"\\u{code:04x}" for code in CONTROL_CHARACTERS} | {ord("\n"): "\\n", ord("\r"): "\\r"}
_ESCAPES_EXCEPT_NEWLINE = {code: escape for code, escape in _ESCAPES.items() if code != ord("\n")}


def one_line(text: str) -> str:
    """The text with control, line-end and direction characters written as escapes, as in JSON."""
    return text.translate(_ESCAPES)


def lines(text: str) -> str:
    """The text with the same characters escaped, except for line feeds."""
    return text.translate(_ESCAPES_EXCEPT_NEWLINE)
