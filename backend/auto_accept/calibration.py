"""From which score on a version's regions may be accepted, label by label, and on what evidence.
`training.auto_accept.calibrate` finds it; here it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from backend.registry.records import read_record, write_facts
from backend.registry.registry import Version

FILE = "calibration.json"


@dataclass(frozen=True)
class Evidence:
    """What held-out approved labels say of one label's regions.

    Attributes:
        threshold: the score from which on regions are accepted; None where the evidence does not do.
        regions: held-out regions at or above it, or all of the label where there is none.
        right: how many of them were right.
        bound: lower limit of the share that is right, in `[0, 1]`, at 95 % confidence.
    """

    label: str
    threshold: float | None
    regions: int
    right: int
    bound: float


@dataclass(frozen=True)
class Calibration:
    """A version's thresholds.

    Attributes:
        precision: the promise: at least this share of what is accepted is right.
        iou: what a right region's IoU with the approved one is at least.
        images: how many were held out.
        images_accepted, regions_accepted: which share of them would be accepted.
    """

    precision: float
    iou: float
    images: int
    labels: tuple[Evidence, ...]
    images_accepted: float
    regions_accepted: float

    @property
    def thresholds(self) -> dict[str, float]:
        """Label → threshold, for labels that have one."""
        return {one.label: one.threshold for one in self.labels if one.threshold is not None}


_JSON = TypeAdapter(Calibration)


def write_calibration(version: Version, calibration: Calibration) -> None:
    """Keeps it with the version, whole or not at all."""
    write_facts(version, FILE, asdict(calibration))


def read_calibration(version: Version) -> Calibration | None:
    """What is kept with the version; None where nothing is, or it cannot be read: nothing is accepted then."""
    return read_record(version, FILE, _JSON)
