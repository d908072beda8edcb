"""The recipes for few photographs that are compared: each is Drape's own, but for one choice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backend.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """How a detector is fine-tuned.

    Attributes:
        name: what it does otherwise than Drape.
        train_args: as in `TRAIN_ARGS`.
        updates: weight updates, as in `TRAIN_UPDATES`; None for Drape's own number.
    """

    name: str
    train_args: str = ""
    updates: int | None = None

    @property
    def file_name(self) -> str:
        return re.sub(r"\W+", "-", self.name.lower())

    def apply(self, settings: Settings) -> Settings:
        """Returns the settings of a training by this recipe."""
        changed: dict[str, object] = {"train_args": f"{settings.train_args} {self.train_args}".strip()}
        if self.updates is not None:
            changed["train_updates"] = self.updates
        return settings.model_copy(update=changed)


RECIPES = (
    Recipe("Drape's own"),
    Recipe("a third of the learning rate", "lr0=0.0002"),
    Recipe("a third of the updates", updates=333),
    Recipe("ten frozen layers", "freeze=10"),
    Recipe("all layers but the head frozen", "freeze=23"),
    Recipe("no mosaic", "mosaic=0"),
    Recipe("garments pasted into half of the images", "copy_paste=0.5"),
    Recipe("masks of twice the resolution", "mask_ratio=2"),
)
