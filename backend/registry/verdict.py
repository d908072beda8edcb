"""Whether a newly trained model took the champion's place, and why. `training.evaluation.promotion`
finds it; here it is kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from backend.registry.records import read_record, write_facts
from backend.registry.registry import Version

FILE = "verdict.json"


@dataclass(frozen=True)
class LabelVerdict:
    """One label's average precision over IoU from 0.5 to 0.95, in `[0, 1]`, of both models.

    Attributes:
        instances: how many garments of the label the held-out images show.
        champion: None where there was none to compare with.
    """

    label: str
    instances: int
    challenger: float
    champion: float | None


@dataclass(frozen=True)
class Verdict:
    """What came of a challenger.

    Attributes:
        reason: a sentence for people.
        images: held-out images that both were judged on.
        champion: the name of the version it was compared with; None where there was none.
        challenger_map, champion_map: mask mAP50-95 in `[0, 1]`; None where there was nothing to judge on.
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
    """Keeps it with the version, whole or not at all."""
    write_facts(version, FILE, asdict(verdict))


def read_verdict(version: Version) -> Verdict | None:
    """What is kept with the version; None where it was never judged."""
    return read_record(version, FILE, _JSON)


@dataclass(frozen=True)
class Generation:
    """One version of a project: its number, its mask mAP50-95 on its own held-out images, whether it was taken."""

    number: int
    name: str
    mask_map: float
    promoted: bool


def generations_of(line: Iterable[tuple[Version, Verdict | None]]) -> tuple[Generation, ...]:
    """Those of a project's versions, each with what came of it, that were judged by a figure; in the order given."""
    return tuple(
        Generation(version.number, version.name, verdict.challenger_map, verdict.promoted)
        for version, verdict in line
        if verdict is not None and verdict.challenger_map is not None
    )
