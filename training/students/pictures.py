"""Images and their ground truth as networks learn from them: in a square, moved at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from backend.detector.yolo11 import PADDING_GREY, STRIDE_PX
from backend.domain import LabelledMask, Mask, Pixels
from training.evaluation.held_out import HeldOut
from training.metrics.pixel_metrics import LabelMap, label_map

# Each picture is flipped or not, enlarged or reduced, moved, and made lighter or darker, at random.
SCALES, BRIGHTNESS = (0.75, 1.33), (0.8, 1.2)
# Less of a garment than this, in pixels, is none.
MIN_GARMENT_PX = 16


@dataclass(frozen=True)
class Sample:
    """A picture to learn from.

    Attributes:
        pixels: `uint8 (side, side, 3)`, RGB.
        masks: `bool (garments, side, side)`, none empty.
        numbers: `int64 (garments,)`: their labels, from 1.
        label_map: `uint16 (side, side)`; later garments cover earlier ones.
    """

    pixels: Pixels
    masks: npt.NDArray[np.bool_]
    numbers: npt.NDArray[np.int64]
    label_map: LabelMap


def rounded_side(side_px: int) -> int:
    """Returns the side of the square that networks take: whole strides."""
    return -(-side_px // STRIDE_PX) * STRIDE_PX


def sample_of(picture: HeldOut, labels: Sequence[str], *, side_px: int, seed: Sequence[int]) -> Sample:
    """Returns a picture with its garments, moved at random by `seed`: the same seed, the same sample."""
    random = np.random.default_rng(seed)
    pixels = picture.image.pixels
    move = _random_move(pixels.shape[1], pixels.shape[0], side_px, random)
    moved = _warped(pixels, move, side_px, cv2.INTER_LINEAR, PADDING_GREY)
    lit = np.clip(moved * random.uniform(*BRIGHTNESS), 0, 255).astype(np.uint8)
    garments = [
        (mask, 1 + labels.index(garment.label))
        for garment in picture.truth
        if garment.label in labels and (mask := _moved_mask(garment, move, side_px)).sum() >= MIN_GARMENT_PX
    ]
    masks = np.stack([mask for mask, _ in garments]) if garments else np.zeros((0, side_px, side_px), bool)
    numbers = np.array([number for _, number in garments], np.int64)
    return Sample(lit, masks, numbers, label_map(garments, size_wh=(side_px, side_px)))


def _random_move(width: int, height: int, side_px: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Returns the affine matrix `(2, 3)` from the picture into the square."""
    low, high = SCALES
    scale = side_px / max(width, height) * float(np.exp(random.uniform(np.log(low), np.log(high))))
    flip = -1 if random.random() < 0.5 else 1
    # What does not fill the square lies anywhere in it; what is larger shows any part.
    left, top = (
        random.uniform(min(0, side_px - length * scale), max(0, side_px - length * scale)) for length in (width, height)
    )
    return np.array([[flip * scale, 0, left + (width * scale if flip < 0 else 0)], [0, scale, top]])


def _moved_mask(garment: LabelledMask, move: npt.NDArray[np.float64], side_px: int) -> Mask:
    return _warped(garment.mask.view(np.uint8), move, side_px, cv2.INTER_NEAREST, 0).astype(bool)


def _warped(pixels: Pixels, move: npt.NDArray[np.float64], side_px: int, interpolation: int, border: int) -> Pixels:
    value = (border,) * 3
    return cv2.warpAffine(pixels, move, (side_px, side_px), flags=interpolation, borderValue=value)
