"""Which of the regions that are shown an annotator keeps, fixes, relabels or deletes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.domain import LabelledMask
from benchmarks.flywheel.work import TARGET_IOU
from training.metrics.interactive import iou

# A region that overlaps less with a garment is not meant for it: it is deleted.
MEANT_IOU = 0.5


@dataclass(frozen=True)
class Meant:
    """A garment, and the region that is shown for it; None where none is, and the garment has to be drawn."""

    garment: LabelledMask
    shown: LabelledMask | None = None

    @property
    def shown_iou(self) -> float | None:
        """Their IoU in `[0, 1]`; None without a region."""
        return iou(self.shown.mask, self.garment.mask) if self.shown is not None else None

    @property
    def is_relabelled(self) -> bool:
        """Whether the region has another label than the garment."""
        return self.shown is not None and self.shown.label != self.garment.label


def match(
    shown: Sequence[LabelledMask], truth: Sequence[LabelledMask]
) -> tuple[tuple[Meant, ...], tuple[LabelledMask, ...]]:
    """Returns each garment with its region, and the regions that are left over, which are deleted.

    The regions with the fewest faults come first, a wrong label and a wrong border being one each; then those that
    overlap most. Each is used once.

    Args:
        shown, truth: masks of the same size.
    """
    overlaps = {
        (number, index): overlap
        for number, region in enumerate(shown)
        for index, garment in enumerate(truth)
        if (overlap := iou(region.mask, garment.mask)) >= MEANT_IOU
    }

    def rank(pair: tuple[int, int]) -> tuple[int, float]:
        faults = (shown[pair[0]].label != truth[pair[1]].label) + (overlaps[pair] < TARGET_IOU)
        return faults, -overlaps[pair]

    region_of: dict[int, int] = {}
    for number, index in sorted(overlaps, key=rank):
        if index not in region_of and number not in region_of.values():
            region_of[index] = number
    meant = tuple(
        Meant(garment, shown[region_of[index]] if index in region_of else None) for index, garment in enumerate(truth)
    )
    left = tuple(region for number, region in enumerate(shown) if number not in region_of.values())
    return meant, left
