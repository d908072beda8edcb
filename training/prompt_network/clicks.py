"""What a simulated annotator asks with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Box, Mask, Point
from backend.segmenters.builtin.prompt_maps import Probabilities, prompt_maps
from training.metrics.interactive import next_click

# How many first prompts are boxes, and how far each side of a drawn box is off, in shares of the box.
BOX_SHARE, BOX_ERROR = 0.35, 0.08
# How many first prompts are masks that are there, such as a detector's; how far those are moved and scaled, in shares
# of their box; how many dents and bumps they have at most, and how large those are.
MASK_SHARE, MASK_ERROR, MOST_DENTS, DENT_SHARES = 0.2, 0.06, 3, (0.1, 0.5)


@dataclass(frozen=True)
class Clicks:
    """All that was asked of one garment so far, in pixels of the frame.

    Attributes:
        found: the network's last answer, `float32 (h, w)` in `[0, 1]`; None before the first, or where it is not kept.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    found: Probabilities | None = None


def first_prompt(truth: Mask, rng: np.random.Generator) -> Clicks:
    """Returns a click well inside the garment, a box around it, or a mask of it; `truth` is not empty."""
    kind = rng.random()
    if kind < BOX_SHARE:
        return Clicks(box=_drawn_box(truth, rng))
    if kind < BOX_SHARE + MASK_SHARE:
        return Clicks(found=_spoiled(truth, rng))
    return Clicks((next_click(truth, np.zeros_like(truth), jitter=rng),))


def corrected(clicks: Clicks, truth: Mask, found: Probabilities, rng: np.random.Generator) -> Clicks:
    """Returns the prompt after one more click where `found` is most wrong; no click where nothing is."""
    mask = found > 0.5
    if np.array_equal(mask, truth):
        return replace(clicks, found=found)
    return replace(clicks, points=(*clicks.points, next_click(truth, mask, jitter=rng)), found=found)


def stacked(clicks: Sequence[Clicks]) -> npt.NDArray[np.float32]:
    """Returns the maps of several prompts: `float32 (N, CHANNELS, h, w)`, see `prompt_maps`."""
    return np.stack([prompt_maps(each.points, each.box, each.found) for each in clicks])


def _drawn_box(truth: Mask, rng: np.random.Generator) -> Box:
    left, top, width, height = cv2.boundingRect(truth.astype(np.uint8))
    off = rng.normal(0, BOX_ERROR / 2, 4) * (width, height, width, height)
    x_min, y_min = max(left + off[0], 0), max(top + off[1], 0)
    x_max, y_max = min(left + width + off[2], truth.shape[1]), min(top + height + off[3], truth.shape[0])
    return Box(x_min, y_min, max(x_max, x_min + 1), max(y_max, y_min + 1))


def _spoiled(truth: Mask, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Returns a mask of the garment as wrong as a detector's, `float32 (h, w)`, 0 or 1."""
    height, width = truth.shape
    left, top, box_width, box_height = cv2.boundingRect(truth.astype(np.uint8))
    right, down = rng.normal(0, MASK_ERROR / 2, 2) * (box_width, box_height)
    scale = 1 + rng.normal(0, MASK_ERROR)
    centre_x, centre_y = left + box_width / 2, top + box_height / 2
    move = np.array([[scale, 0, centre_x * (1 - scale) + right], [0, scale, centre_y * (1 - scale) + down]], np.float32)
    spoiled = cv2.warpAffine(truth.astype(np.uint8), move, (width, height), flags=cv2.INTER_NEAREST)
    border = np.argwhere(cv2.morphologyEx(spoiled, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    for _ in range(int(rng.integers(MOST_DENTS + 1)) if len(border) else 0):
        y, x = rng.choice(border)
        axes = rng.uniform(*DENT_SHARES, 2) * (box_width, box_height) / 2 + 1
        dent = (int(x), int(y)), (int(axes[0]), int(axes[1])), float(rng.uniform(0, 180))
        cv2.ellipse(spoiled, *dent, 0, 360, int(rng.random() < 0.5), cv2.FILLED)
    return spoiled.astype(np.float32)
