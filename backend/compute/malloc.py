"""What C libraries took from the system and no longer use. With glibc alone; elsewhere nothing is done."""

from __future__ import annotations

import ctypes
import sys

# Of malloc.h: how many heaps threads share.
M_ARENA_MAX = -8
# By default there are eight for each core, and each keeps what was once needed at the same time in it.
HEAPS = 2


def share_heaps() -> None:
    """Has all threads of this process take memory from the same few heaps; to be called before they are started."""
    if (libc := _glibc()) is not None:
        libc.mallopt(M_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Returns what is free in the heaps to the system; after something large was loaded, or let go. Milliseconds."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None
