"""What annotators accepted and Label Studio has not saved yet: it saves a draft five seconds after a change."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import LabelledMask, Mask, Point

# Afterwards Label Studio sends what it has saved, or the annotator has rejected the answer.
REMEMBERED_S = 20.0
MOST = 64


@dataclass(frozen=True)
class _Fix:
    """An answer: the clicks, the masks before and after them (eight pixels a byte), and when it was given."""

    points: tuple[Point, ...]
    before: npt.NDArray[np.uint8]
    after: npt.NDArray[np.uint8]
    at: float


class RecentFixes:
    """The last answers that fixed regions, for some seconds. Thread-safe."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._fixes: OrderedDict[tuple[int, str, bytes], _Fix] = OrderedDict()
        self._lock = threading.Lock()

    def remember(
        self, task_id: int, sent: LabelledMask, points: tuple[Point, ...], *, before: Mask, after: Mask
    ) -> None:
        """Stores the answer to clicks on a region: `sent` is as Label Studio has it, the masks as in the page."""
        with self._lock:
            key = _key(task_id, sent)
            self._fixes[key] = _Fix(points, np.packbits(before), np.packbits(after), self._now())
            self._fixes.move_to_end(key)
            while len(self._fixes) > MOST:
                self._fixes.popitem(last=False)

    def current(self, task_id: int, sent: LabelledMask, points: tuple[Point, ...]) -> Mask:
        """Returns the region's mask as the annotator sees it, without a pending answer, `bool (H, W)`.

        An answer counts as accepted if new clicks do not begin with its own: those of a pending answer come again with
        each further click. One that was rejected counts, too, until its time is over: Label Studio tells neither.
        """
        with self._lock:
            last = self._fixes.get(_key(task_id, sent))
        if last is None or self._now() - last.at > REMEMBERED_S:
            return sent.mask
        is_pending = points[: len(last.points)] == last.points
        packed = last.before if is_pending else last.after
        return np.unpackbits(packed, count=sent.mask.size).reshape(sent.mask.shape).astype(bool)


def _key(task_id: int, sent: LabelledMask) -> tuple[int, str, bytes]:
    return task_id, sent.region_id or "", hashlib.blake2b(np.packbits(sent.mask).tobytes()).digest()
