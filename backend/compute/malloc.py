"""Returns to the system the memory that C libraries no longer use. Works with glibc; does nothing elsewhere."""

from __future__ import annotations

import ctypes
import sys

# From malloc.h: the parameter for the number of heaps that threads share.
M_ARENA_MAX = -8
# The default is eight per core, and each heap retains as much memory as was ever in use in it at once.
HEAPS = 2


def limit_heaps() -> None:
    """Makes all threads of this process allocate from the same few heaps; call it before they are started."""
    if (libc := _glibc()) is not None:
        libc.mallopt(M_ARENA_MAX, HEAPS)


def trim_heap() -> None:
    """Returns free heap memory to the system, in milliseconds; call it after something large is loaded or released."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None
