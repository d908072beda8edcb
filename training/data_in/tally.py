"""What comes in from a set, and what does not, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

EXAMPLES = 3


@dataclass
class Tally:
    """Counts that grow while a set is read; never longer than the set has classes and reasons.

    Attributes:
        new: images that the project did not have.
        present: images whose task was there, and got regions.
        left: images whose task was there, and stays as it was.
        garments: those that come in, by the set's name of their class and our label.
        unmapped: garments whose class is no label of ours, by that name.
        reasons: what else is not brought in, by reason.
        examples: names of the first images for which a reason counts.
    """

    new: int = 0
    present: int = 0
    left: int = 0
    garments: Counter[tuple[str, str]] = field(default_factory=Counter)
    unmapped: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, reasons: Iterable[str], image: str) -> None:
        """Counts what of an image is not brought in, and why."""
        for reason in reasons:
            self.reasons[reason] += 1
            named = self.examples.setdefault(reason, [])
            if len(named) < EXAMPLES and image not in named:
                named.append(image)
