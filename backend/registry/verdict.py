"""Whether a challenger became the champion, and why: `training.evaluation.promotion` decides, this module stores it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from backend.registry.records import read_record, write_facts
from backend.registry.registry import Version

FILE = "verdict.json"


@dataclass(frozen=True)
class LabelVerdict:
    """One label's average precision over IoU from 0.5 to 0.95, in `[0, 1]`, of challenger and champion.

    Attributes:
        instances: number of garments of the label in the held-out images.
        champion: None if there was no champion to compare with.
        gain_95: lower and upper end of the 95 % interval of the difference; None if there was nothing to compare with.
    """

    label: str
    instances: int
    challenger: float
    champion: float | None
    gain_95: tuple[float, float] | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger was promoted, and the comparison that decided it.

    Attributes:
        reason: the reason, as a sentence for people.
        images: number of held-out images on which both were evaluated.
        champion: name of the version that the challenger was compared with; None if there was none.
        challenger_map, champion_map: mask mAP50-95 in `[0, 1]`; None if there was nothing to evaluate on.
        gain_95: lower and upper end of the 95 % interval of the difference, by a paired bootstrap over images.
    """

    promoted: bool
    reason: str
    images: int
    champion: str | None = None
    challenger_map: float | None = None
    champion_map: float | None = None
    gain_95: tuple[float, float] | None = None
    labels: tuple[LabelVerdict, ...] = ()


_JSON = TypeAdapter(Verdict)


def write_verdict(version: Version, verdict: Verdict) -> None:
    """Stores the verdict with the version, whole or not at all."""
    write_facts(version, FILE, asdict(verdict))


def read_verdict(version: Version) -> Verdict | None:
    """Returns the verdict that is stored with the version; None if the version has none."""
    return read_record(version, FILE, _JSON)


@dataclass(frozen=True)
class Generation:
    """One version of a project: its number, mask mAP50-95 on its own held-out images, and whether it was promoted."""

    number: int
    name: str
    mask_map: float
    promoted: bool


def generations_of(line: Iterable[tuple[Version, Verdict | None]]) -> tuple[Generation, ...]:
    """Returns the project's versions whose verdict has a challenger's mAP, in the given order."""
    return tuple(
        Generation(version.number, version.name, verdict.challenger_map, verdict.promoted)
        for version, verdict in line
        if verdict is not None and verdict.challenger_map is not None
    )
