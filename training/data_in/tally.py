"""Counts what is imported from a set, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

EXAMPLES = 3
DUPLICATE = "image that the set lists twice"


@dataclass
class Tally:
    """Counts that grow while a set is read; they hold one entry for each class or reason, not for each image.

    Attributes:
        new: images that the project did not have.
        updated: images whose task existed and got regions.
        skipped: images whose task existed and stays as it was.
        garments: imported garments, by their class in the set and their label.
        unmapped: garments whose class maps to no label, by class.
        reasons: how often something else was left out, by reason.
        examples: names of the first images to which a reason applies, by reason.
    """

    new: int = 0
    updated: int = 0
    skipped: int = 0
    garments: Counter[tuple[str, str]] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, reasons: Iterable[str], image: str) -> None:
        """Counts the reasons for which parts of an image, or all of it, are left out."""
        for reason in reasons:
            self.reasons[reason] += 1
            images = self.examples.setdefault(reason, [])
            if len(images) < EXAMPLES and image not in images:
                images.append(image)
