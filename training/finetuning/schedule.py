"""Plans how long a training lasts: about the same number of weight updates, however many images there are."""

from __future__ import annotations

import math
from dataclasses import dataclass

# Of a large data set each image is drawn at least this often, which takes more updates.
MIN_EPOCHS = 20
# Shares of the training, as in Ultralytics' own: warm-up 3 epochs of 60, and the last epochs on whole images, as the
# detector will see them, not on mosaics.
WARMUP_SHARE = 0.05
WITHOUT_MOSAIC_SHARE = 1 / 6


@dataclass(frozen=True)
class Schedule:
    """The length of a training and its parts, in epochs.

    Attributes:
        epochs: how often all images are drawn.
        steps: weight updates in an epoch.
        warmup_epochs: the first epochs, in which the learning rate rises to its full value.
        epochs_without_mosaic: the last epochs, which train on whole images.
    """

    epochs: int
    steps: int
    warmup_epochs: float
    epochs_without_mosaic: int

    @property
    def updates(self) -> int:
        """Weight updates in the whole training."""
        return self.epochs * self.steps


def plan_schedule(drawn: int, *, batch: int, updates: int, max_epochs: int) -> Schedule:
    """Returns the schedule that comes to about `updates` weight updates: more by less than an epoch.

    A data set that needs more for `MIN_EPOCHS` gets more; `max_epochs` limits all. Every batch updates the weights.

    Args:
        drawn: the number of images that an epoch draws; one that is drawn twice counts twice.
        batch: images in a batch.
    """
    steps = max(1, math.ceil(drawn / batch))
    epochs = min(max(math.ceil(updates / steps), MIN_EPOCHS), max_epochs)
    return Schedule(
        epochs=epochs,
        steps=steps,
        warmup_epochs=WARMUP_SHARE * epochs,
        epochs_without_mosaic=math.floor(WITHOUT_MOSAIC_SHARE * epochs),
    )
