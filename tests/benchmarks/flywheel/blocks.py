"""Garments whose IoU is known without computing it: blocks of 40 rows and some columns."""

from __future__ import annotations

import numpy as np

from backend.domain import LabelledMask
from benchmarks.flywheel.work import Click, Outlined

HEIGHT, WIDTH = 60, 90


def region(label: str, left: int, width: int = 20, *, region_id: str | None = None) -> LabelledMask:
    """A block of 40 rows: one that is moved by a column of its 20 has IoU 19 / 21 with what it was."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:50, left : left + width] = True
    return LabelledMask(mask, label, region_id=region_id)


def outlined(
    *ious: float, shown: float | None = None, relabelled: bool = False, replaced: bool = False, modifiers: int = 0
) -> Outlined:
    """A garment that was clicked, with these IoUs after the clicks, and a wait of half a second each."""
    return Outlined(shown, relabelled, replaced, tuple(Click(iou, 0.5, modifiers) for iou in ious))
