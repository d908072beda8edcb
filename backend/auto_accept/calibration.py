"""A version's score thresholds for accepting images, and the evidence for them.
`training.auto_accept.calibrate` computes them; this module stores them with the version."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from backend.registry.records import read_record, write_facts
from backend.registry.registry import Version
from backend.settings import Settings

FILE = "calibration.json"
# Settings that decide what is promised, what is found, and what is stored of it.
CONDITIONS = (
    "auto_accept_precision",
    "auto_accept_iou",
    "model_score_threshold",
    "max_regions",
    "polygon_tolerance_px",
    "polygon_parts",
    "speck_percent",
    "refine",
)


@dataclass(frozen=True)
class Evidence:
    """What the test says about one label.

    Attributes:
        threshold: an image is accepted only if its regions of this label have at least this score; None where images
            with the label are left to people.
        regions: number of the label's regions in the accepted held-out images; without a threshold, in all of them.
        right: how many of these regions were right.
    """

    label: str
    threshold: float | None
    regions: int
    right: int


@dataclass(frozen=True)
class Calibration:
    """A version's thresholds, and their test on approved held-out images.

    The promise is about the regions of accepted images, of all labels together.

    Attributes:
        precision: the promise: at least this share of the accepted regions is right.
        iou: a region is right if its IoU with the approved region is at least this.
        images: number of held-out images.
        needed_images: the fewest accepted images, with nothing wrong in them, that prove `precision`.
        accepted_images, accepted_regions: number of the held-out images that would be accepted, and of their regions.
            Where the test failed: of those that the most promising thresholds would have accepted.
        right_regions: how many of these regions are right.
        bound: lower limit of the share of right regions among accepted ones, in `[0, 1]`, at 95 % confidence.
        labels: no label has a threshold where the test failed.
        conditions: the settings for which this holds, from `conditions`.
    """

    precision: float
    iou: float
    images: int
    needed_images: int
    accepted_images: int
    accepted_regions: int
    right_regions: int
    bound: float
    labels: tuple[Evidence, ...]
    conditions: dict[str, Any]

    @property
    def thresholds(self) -> dict[str, float]:
        """Label → threshold, for the labels that have a threshold."""
        return {evidence.label: evidence.threshold for evidence in self.labels if evidence.threshold is not None}

    @property
    def images_accepted(self) -> float:
        """The share of the held-out images that is accepted, in `[0, 1]`."""
        return self.accepted_images / max(self.images, 1) if self.thresholds else 0.0

    @property
    def test_result(self) -> str:
        """The result of the test in words, for people."""
        accepted = f"{self.accepted_images} of {self.images} held-out images"
        if self.accepted_images < self.needed_images:
            return (
                f"Only {accepted} would be accepted in the test, and {100 * self.precision:.4g} % needs at least "
                f"{self.needed_images}. Approve more images; the next training tests again."
            )
        return (
            f"{accepted} would be accepted in the test, with {self.right_regions} of {self.accepted_regions} regions "
            f"right: that proves {100 * self.bound:.1f} %, not {100 * self.precision:.4g} %."
        )


def conditions(settings: Settings) -> dict[str, Any]:
    """The settings that a calibration depends on, by name."""
    return {name: getattr(settings, name) for name in CONDITIONS}


_JSON = TypeAdapter(Calibration)


def write_calibration(version: Version, calibration: Calibration) -> None:
    """Stores the calibration with the version, in one atomic write."""
    write_facts(version, FILE, asdict(calibration))


def read_calibration(version: Version) -> Calibration | None:
    """The version's calibration; None where there is none or it cannot be read: then nothing is accepted."""
    return read_record(version, FILE, _JSON)
