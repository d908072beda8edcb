"""A version's score thresholds for accepting regions, label by label, and the evidence for them.
`training.auto_accept.calibrate` computes them; this module stores them with the version."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from backend.registry.records import read_record, write_facts
from backend.registry.registry import Version

FILE = "calibration.json"


@dataclass(frozen=True)
class Evidence:
    """The evidence for one label's threshold, from approved labels of held-out images.

    Attributes:
        threshold: regions with at least this score are accepted; None where the evidence is too weak.
        regions: number of held-out regions at or above the threshold; all regions of the label without a threshold.
        right: how many of these regions were right.
        bound: lower limit of the share of right regions, in `[0, 1]`, at 95 % confidence.
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
        precision: the promise: at least this share of the accepted regions is right.
        iou: a region is right if its IoU with the approved region is at least this.
        images: number of held-out images.
        images_accepted, regions_accepted: share of the held-out images, and of their regions, that would be accepted.
    """

    precision: float
    iou: float
    images: int
    labels: tuple[Evidence, ...]
    images_accepted: float
    regions_accepted: float

    @property
    def thresholds(self) -> dict[str, float]:
        """Label → threshold, for the labels that have a threshold."""
        return {evidence.label: evidence.threshold for evidence in self.labels if evidence.threshold is not None}


_JSON = TypeAdapter(Calibration)


def write_calibration(version: Version, calibration: Calibration) -> None:
    """Stores the calibration with the version, in one atomic write."""
    write_facts(version, FILE, asdict(calibration))


def read_calibration(version: Version) -> Calibration | None:
    """The version's calibration; None where there is none or it cannot be read: then nothing is accepted."""
    return read_record(version, FILE, _JSON)
