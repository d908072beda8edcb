"""Draws the report's plots of a model's precision, recall and confusions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.patches import Rectangle

from backend.status.plots import BLUE, ORANGE, styled_figure, svg
from training.metrics.matching import Confusion

# The highest opacity of a cell at which numbers in the page's text colour stay legible.
MAX_OPACITY = 0.55
MAX_TICK_LENGTH = 24


def precision_plot(precision: npt.NDArray[np.float64], *, number: int) -> str:
    """Plots a label's precision at recall from 0 to 1; `number` makes the plot's ids unique in the page."""
    with styled_figure(f"precision {number}", size_in=(2.4, 1.9)) as figure:
        axes = figure.add_subplot()
        recall = np.linspace(0, 1, len(precision))
        axes.fill_between(recall, precision, color=BLUE, alpha=0.2, lw=0)
        axes.plot(recall, precision, color=BLUE, lw=1.8)
        axes.set(
            xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.05), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1)
        )
        return svg(figure)


def confusion_plot(counted: Confusion) -> str:
    """Plots approved (down) against detected labels (across): blue right, orange wrong, opacity the share of a row."""
    counts, side = counted.counts, len(counted.labels) + 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with styled_figure("confusion", size_in=(2.2 + 0.5 * side, 1.6 + 0.42 * side)) as figure:
        axes = figure.add_subplot()
        axes.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
        for row, column in np.argwhere(counts):
            colour = BLUE if row == column else ORANGE
            share = float(MAX_OPACITY * shares[row, column])
            axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=colour, alpha=share, lw=0))
            axes.text(column, row, str(counts[row, column]), ha="center", va="center")
        labels = [_short(label) for label in counted.labels]
        axes.set_xticks(range(side), [*labels, "(missed)"], rotation=40, ha="right", parse_math=False)
        axes.set_yticks(range(side), [*labels, "(nothing there)"], parse_math=False)
        axes.set(xlabel="found", ylabel="approved")
        return svg(figure)


def _short(label: str) -> str:
    return label if len(label) <= MAX_TICK_LENGTH else f"{label[: MAX_TICK_LENGTH - 1]}…"
