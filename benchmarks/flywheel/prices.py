"""What annotators' work takes, by the keystroke-level model (Card, Moran and Newell 1980) and by measured waits.

An act is the sum of its operators. The hands stay where they are, one on the mouse and one on the keys, so no time is
counted for moving them. The smart key point is chosen once and stays, so it is not counted either. The mental operator
stands for each look that decides something: at an image that opens, at each shown region, and at each answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from backend.errors import DatasetError
from backend.review.sheet import SIZE
from benchmarks.flywheel.work import Outlined, Work


@dataclass(frozen=True)
class Prices:
    """Seconds of each operator.

    Attributes:
        key: to press a key; the average of skilled typists is 0.2 s (K).
        point: to point with the mouse (P).
        click: to press and release its button (two B).
        look: to look, and decide (M); a picture on a review sheet is looked at once.
        by_hand: to draw a garment point by point: a figure of the annotation of sarees that Drape builds on.
        overlooked: no seconds, but the share of wrong pictures on a review sheet that are approved all the same.
    """

    key: float = 0.2
    point: float = 1.1
    click: float = 0.2
    look: float = 1.35
    by_hand: float = 60.0
    overlooked: float = 0.05

    @property
    def image(self) -> float:
        """To look at an image that opens, and submit it by Ctrl and Enter."""
        return self.look + 2 * self.key

    @property
    def change(self) -> float:
        """To select a region, and delete it or give it another label by a key."""
        return self.point + self.click + self.key

    @property
    def end(self) -> float:
        """To accept or reject what is suggested, by the tick or the cross below the image."""
        return self.point + self.click


@dataclass(frozen=True)
class Effort:
    """What images took: counts, and seconds."""

    seconds: float = 0.0
    wait_s: float = 0.0
    prompts: float = 0.0
    kept: float = 0.0
    fixed: float = 0.0
    drawn: float = 0.0
    by_hand: float = 0.0
    relabelled: float = 0.0
    deleted: float = 0.0

    @property
    def garments(self) -> float:
        """How many garments there were."""
        return self.kept + self.fixed + self.drawn + self.by_hand


def effort(garments: Sequence[Outlined], *, deleted: int, target_iou: float, prices: Prices) -> Effort:
    """Returns what one image takes, until each garment has the target's IoU.

    Args:
        deleted: shown regions of no garment.
    """
    outcomes = [garment.outcome(target_iou) for garment in garments]
    clicked = [garment.clicks_until(target_iou) for garment in garments]
    waits = [click.wait_s for clicks in clicked for click in clicks]
    relabelled = sum(garment.relabelled for garment in garments)
    shown = sum(garment.shown_iou is not None for garment in garments) + deleted
    deleted += sum(
        garment.shown_iou is not None and (outcome == "by hand" or (outcome == "drawn" and garment.replaced))
        for garment, outcome in zip(garments, outcomes, strict=True)
    )
    modifiers = sum(click.modifiers for clicks in clicked for click in clicks)
    seconds = (
        prices.image
        + prices.look * shown
        + prices.change * (relabelled + deleted)
        + (prices.key + prices.end) * sum(map(bool, clicked))
        + (prices.point + prices.click + prices.look) * len(waits)
        + prices.key * modifiers
        + sum(waits)
        + prices.by_hand * outcomes.count("by hand")
    )
    return Effort(
        seconds=seconds,
        wait_s=sum(waits),
        prompts=len(waits),
        kept=outcomes.count("kept"),
        fixed=outcomes.count("fixed"),
        drawn=outcomes.count("drawn"),
        by_hand=outcomes.count("by hand"),
        relabelled=relabelled,
        deleted=deleted,
    )


@dataclass(frozen=True)
class Reviewed:
    """What images took that were on review sheets before they were opened: seconds, and expected numbers of images."""

    seconds: float = 0.0
    approved: float = 0.0
    wrong: float = 0.0


def reviewed(works: Sequence[Work], *, target_iou: float, prices: Prices) -> Reviewed:
    """Returns what images take of which those with regions are looked at on a review sheet first.

    What is right there, with no garment missing, is approved. What is not is taken out, and corrected as without a
    sheet, but for the share that is overlooked.
    """
    seconds = approved = wrong = 0.0
    for work in works:
        opened = effort(work.garments, deleted=work.deleted, target_iou=target_iou, prices=prices)
        if not work.shown:
            seconds += opened.seconds
            continue
        is_right = opened.kept == opened.garments and not opened.relabelled and not opened.deleted
        overlooked = 0.0 if is_right else prices.overlooked
        # An arrow and the space bar take a picture out; Enter approves what is left of a sheet.
        taken_out = 0.0 if is_right else (1 - overlooked) * (2 * prices.key + opened.seconds)
        seconds += prices.look + prices.key / SIZE + taken_out
        approved += 1.0 if is_right else overlooked
        wrong += overlooked
    return Reviewed(seconds, approved, wrong)


def all_by_hand(garments: int, prices: Prices) -> Effort:
    """Returns what an image with so many garments takes without any model."""
    return Effort(seconds=prices.image + prices.by_hand * garments, by_hand=garments)


def total(efforts: Sequence[Effort]) -> Effort:
    """Returns the sum over images."""
    return Effort(**{one.name: sum(getattr(effort, one.name) for effort in efforts) for one in fields(Effort)})


def read_prices(texts: Sequence[str]) -> Prices:
    """Returns the prices with those changed that texts such as `look=1` name.

    Raises:
        DatasetError: a text names no price, or no number of seconds.
    """
    changed = {}
    names = [one.name for one in fields(Prices)]
    for text in texts:
        name, _, value = text.partition("=")
        try:
            changed[name] = float(value)
        except ValueError:
            name = ""
        if name not in names:
            raise DatasetError(f"--price {text}: give `name=seconds`. The names are {', '.join(names)}.")
    return replace(Prices(), **changed)
