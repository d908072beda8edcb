"""Names the colours of a garment."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_hex, to_rgb

# The eleven basic colour terms (Berlin and Kay 1969), and terms that people add for clothes.
NAMES = {
    "black": "#000000", "white": "#ffffff", "grey": "#808080", "red": "#d01010", "maroon": "#701020",
    "orange": "#f08020", "yellow": "#f5d820", "gold": "#c8a030", "green": "#209030", "olive": "#707020",
    "teal": "#108080", "turquoise": "#40d0d0", "blue": "#2040d0", "navy": "#101850", "light blue": "#90c0f0",
    "purple": "#702090", "magenta": "#d020a0", "pink": "#f5a0b8", "brown": "#704020", "beige": "#e0cfa8",
}  # fmt: skip
# A colour on a smaller share of the garment is a thread's, and nobody would name the garment by it.
MIN_SHARE = 0.1
MAX_PIXELS = 5000


@dataclass(frozen=True)
class Colour:
    """One of a garment's colours.

    Attributes:
        name: one of `NAMES`.
        hex: the mean of the garment's pixels of that name, `#rrggbb`.
        share: their share of the garment's pixels, in `(0, 1]`.
    """

    name: str
    hex: str
    share: float


def dominant_colours(pixels: npt.NDArray[np.uint8]) -> list[Colour]:
    """Returns the colours of `uint8 (N, 3)`, RGB, the most frequent first; an empty list without pixels.

    Each pixel counts for the named colour that is nearest to it in CIELAB.
    """
    if not len(pixels):
        return []
    sampled = np.asarray(pixels[:: max(len(pixels) // MAX_PIXELS, 1)] / 255, np.float32)
    named = lab_of(list(NAMES.values()))
    nearest = np.linalg.norm(_lab(sampled)[:, None] - named[None], axis=2).argmin(axis=1)
    shares = np.bincount(nearest, minlength=len(NAMES)) / len(nearest)
    return [
        Colour(name, to_hex(sampled[nearest == number].mean(axis=0)), float(shares[number]))
        for number, name in sorted(enumerate(NAMES), key=lambda colour: -shares[colour[0]])
        if shares[number] >= MIN_SHARE
    ]


def lab_of(colours: list[str]) -> npt.NDArray[np.float32]:
    """Returns CSS colours such as `#c8a030` in CIELAB under D65, `float32 (N, 3)`: lightness 0 to 100, then a*, b*."""
    return _lab(np.array([to_rgb(colour) for colour in colours], np.float32).reshape(-1, 3))


def _lab(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return cv2.cvtColor(rgb.reshape(1, -1, 3), cv2.COLOR_RGB2LAB).reshape(-1, 3)
