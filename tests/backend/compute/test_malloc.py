from __future__ import annotations

import json
import subprocess
import sys

import pytest

# Threads that hold memory at the same time, and let it go.
CODE = """
import json, sys, threading
import numpy as np, psutil
from backend.compute.malloc import trim_heap, limit_heaps
if "share" in sys.argv:
    limit_heaps()
process, everybody = psutil.Process(), threading.Barrier(8)
before = process.memory_info().rss
def work():
    # Each below what malloc takes from the system, and gives back, piece by piece.
    held = [np.ones(8_000) for _ in range(400)]
    everybody.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for one in threads:
    one.start()
for one in threads:
    one.join()
if "give" in sys.argv:
    trim_heap()
# A thread's heap begins at a multiple of 64 MiB.
starts = [one.addr.split("-")[0] for one in process.memory_maps(grouped=False) if one.path in ("", "[anon]")]
heaps = sum(int(one, 16) % (64 << 20) == 0 for one in starts)
print(json.dumps({"kept_mb": (process.memory_info().rss - before) / 1e6, "heaps": heaps}))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Another system's C library has none of it.")


def after_threads(*how: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", CODE, *how], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_what_was_let_go_is_given_back() -> None:
    assert after_threads("give")["kept_mb"] < after_threads()["kept_mb"] / 2


def test_threads_limit_heaps() -> None:
    assert after_threads("share")["heaps"] < after_threads()["heaps"] - 3
