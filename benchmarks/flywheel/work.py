"""What annotators did to an image, click by click: what it takes is computed from it, for any price and any target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# From this IoU on an annotator takes an outline as right; what less exacting annotators need is told beside it.
TARGET_IOU, LOWER_TARGET_IOU = 0.9, 0.85
TARGETS = (TARGET_IOU, LOWER_TARGET_IOU)
MOST_PROMPTS = 6

Outcome = Literal["kept", "fixed", "drawn", "by hand"]


@dataclass(frozen=True)
class Click:
    """A click on a garment, and its answer.

    Attributes:
        iou: the outline's IoU with the garment after it, in `[0, 1]`.
        wait_s: seconds from the request to Label Studio's answer.
        modifiers: keys that are held for it: Ctrl on a region, Alt to take away.
    """

    iou: float
    wait_s: float
    modifiers: int


@dataclass(frozen=True)
class Outlined:
    """How a garment got its outline.

    Attributes:
        shown_iou: IoU of the region that was shown for it, in `[0, 1]`; None where none was.
        relabelled: whether that region had another label.
        replaced: whether the clicks made a new region, so that the shown one was deleted.
        clicks: until the IoU was `TARGET_IOU`, at most `MOST_PROMPTS`; empty where it was so from the start.
    """

    shown_iou: float | None
    relabelled: bool
    replaced: bool
    clicks: tuple[Click, ...]

    def clicks_until(self, target_iou: float) -> tuple[Click, ...]:
        """Returns the clicks that the target needs; all of them where it is not reached."""
        if (self.shown_iou or 0.0) >= target_iou:
            return ()
        reached = next((count for count, click in enumerate(self.clicks, 1) if click.iou >= target_iou), None)
        return self.clicks[:reached]

    def outcome(self, target_iou: float) -> Outcome:
        """Whether the shown region was kept or fixed, or the garment drawn by prompts, or after them by hand."""
        clicks = self.clicks_until(target_iou)
        if not clicks:
            return "kept"
        if clicks[-1].iou < target_iou:
            return "by hand"
        return "drawn" if self.shown_iou is None or self.replaced else "fixed"


@dataclass(frozen=True)
class Work:
    """What was done to one image, once from what was shown, and once from nothing.

    Attributes:
        garments: those of the image, with the regions that were shown.
        alone: the same garments by prompts alone.
        deleted: shown regions of no garment.
    """

    task_id: int
    garments: tuple[Outlined, ...]
    alone: tuple[Outlined, ...]
    deleted: int

    @property
    def shown(self) -> int:
        """How many regions were shown."""
        return sum(garment.shown_iou is not None for garment in self.garments) + self.deleted
