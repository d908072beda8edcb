"""Keeps the statistics of batch normalisation as they were before a training of few images."""

from __future__ import annotations

from typing import Any


def keep_statistics(trainer: Any) -> None:
    """Ultralytics' callback `on_train_batch_start`: means and variances stay those of the initial weights.

    They were gathered from many images. Those of small batches and mosaics replace them within some fifty updates, and
    then a network finds less than before, even one whose weights have not changed. Ultralytics sets the whole network
    to train before each epoch, therefore this is done for each batch.
    """
    from torch.nn import BatchNorm2d

    for module in trainer.model.modules():
        if isinstance(module, BatchNorm2d):
            module.eval()
