"""Where a training stands: written every few minutes, so that it goes on there after whatever ended it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from backend.errors import ModelError
from backend.storage.atomic_files import replacing, write_atomically

Phase = Literal["dense", "prompts"]
CHECKPOINT, LOG = "checkpoint.pt", "log.jsonl"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training.

    Attributes:
        encoder: timm's name.
        classes: names of the classes that the pre-training tells apart, from number 1.
        phase: what it is at.
        crops: how many crops the phase has seen.
        minutes: how long all phases took so far.
        network: the weights.
        average: their moving average, with which the network is evaluated and exported.
        optimizer: its state.
    """

    encoder: str
    classes: tuple[str, ...]
    phase: Phase
    crops: int
    minutes: float
    network: Mapping[str, Any]
    average: Mapping[str, Any]
    optimizer: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of the log.

    Attributes:
        loss: mean of the crops since the line before.
        mean_iou: of the classes of held-out pixels, in `[0, 1]`; None in lines without an evaluation.
        click_ious: mean IoU after 1, 3 and 5 clicks on held-out garments, in `[0, 1]`; empty without an evaluation.
    """

    phase: Phase
    crops: int
    minutes: float
    loss: float
    mean_iou: float | None = None
    click_ious: tuple[float, ...] = ()

    def sentence(self) -> str:
        """Returns the line for people."""
        parts = [f"{self.phase}: {self.crops:,} crops, {self.minutes:.1f} minutes, loss {self.loss:.4f}"]
        if self.mean_iou is not None:
            parts.append(f"held-out mIoU {self.mean_iou:.1%}")
        if self.click_ious:
            parts.append("held-out IoU " + " / ".join(f"{value:.1%}" for value in self.click_ious))
        return ", ".join(parts)


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replaces the last checkpoint."""
    with replacing(folder / CHECKPOINT, durable=True) as temporary:
        torch.save({name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}, temporary)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Returns the last checkpoint; None before the first.

    Raises:
        ModelError: it cannot be read.
    """
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    try:
        return Checkpoint(**torch.load(file, weights_only=True))
    # PyTorch raises whatever goes wrong in a damaged file.
    except Exception as e:
        raise ModelError(f"The checkpoint {file} cannot be read. Delete it to begin anew.") from e


def add_row(folder: Path, row: Row) -> None:
    """Adds a line to the log."""
    with (folder / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(row)) + "\n")


def read_rows(folder: Path) -> list[Row]:
    """Returns the log; empty where there is none."""
    file = folder / LOG
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines]
    return [Row(**{**row, "click_ious": tuple(row["click_ious"])}) for row in rows]


def forget_after(folder: Path, checkpoint: Checkpoint | None) -> None:
    """Removes the lines of work that was lost after the last checkpoint: it will be done again."""
    kept = [row for row in read_rows(folder) if checkpoint is not None and row.minutes <= checkpoint.minutes]
    write_atomically(folder / LOG, "".join(json.dumps(asdict(row)) + "\n" for row in kept))
