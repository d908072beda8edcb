"""Refuses JSON whose lists and tables are nested too deep: to build it would exhaust the memory or the stack."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np

from backend.errors import DatasetError

# No data set comes near it; Python's own limit is about a thousand.
MAX_DEPTH = 100
# 1 for what opens a list or table, -1 for what closes one, 0 for all else.
STEPS = bytes({**dict.fromkeys(b"[{", 1), **dict.fromkeys(b"]}", 255)}.get(byte, 0) for byte in range(256))


class ShallowStream:
    """A stream of JSON that is refused where its lists and tables are nested deeper than `MAX_DEPTH`."""

    def __init__(self, stream: IO[bytes], file: Path) -> None:
        self._stream, self._file = stream, file
        self._depth = 0
        self._in_text = False
        self._held_back = b""

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes, all of them if it is negative.

        Raises:
            DatasetError: what was read is nested too deep.
        """
        part = self._stream.read(size)
        self._follow(part)
        return part

    def _follow(self, part: bytes) -> None:
        # Without escapes, each quotation mark begins or ends a text. One may lie across the border of two parts.
        plain = (self._held_back + part).replace(rb"\\", b"")
        self._held_back = b"\\" if plain.endswith(b"\\") else b""
        pieces = plain.replace(rb"\"", b"").split(b'"')
        outside = b"".join(pieces[1 if self._in_text else 0 :: 2])
        self._in_text ^= len(pieces) % 2 == 0
        steps = np.frombuffer(outside.translate(STEPS), np.int8)
        if not steps.size:
            return
        depths = self._depth + steps.cumsum(dtype=np.int64)
        if depths.max() > MAX_DEPTH:
            raise DatasetError(f"{self._file} is no data set: its lists and tables are nested deeper than {MAX_DEPTH}.")
        self._depth = int(depths[-1])
