"""The plot of a training's log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from backend.storage.atomic_files import replacing
from training.prompt_network.checkpoint import Row


def draw_curves(rows: Sequence[Row], file: Path) -> None:
    """Plots loss and held-out IoU by the minutes of training, as SVG."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    losses, ious = figure.subplots(2, 1, sharex=True)
    for phase, colour in (("dense", "C0"), ("prompts", "C1")):
        of_phase = [row for row in rows if row.phase == phase]
        losses.plot([row.minutes for row in of_phase], [row.loss for row in of_phase], color=colour, label=phase)
    losses.set_ylabel("loss")
    dense = [row for row in rows if row.mean_iou is not None]
    ious.plot([row.minutes for row in dense], [row.mean_iou for row in dense], "C0-o", ms=3, label="mIoU of classes")
    clicked = [row for row in rows if row.click_ious]
    for place, (clicks, style) in enumerate((("1 click", ":"), ("3 clicks", "--"), ("5 clicks", "-"))):
        values = [row.click_ious[place] for row in clicked]
        ious.plot([row.minutes for row in clicked], values, f"C1{style}o", ms=3, label=f"IoU after {clicks}")
    ious.set(xlabel="minutes", ylabel="held out")
    for axes in (losses, ious):
        axes.grid(alpha=0.3)
        axes.legend()
    with replacing(file) as temporary:
        figure.savefig(temporary, format="svg")
