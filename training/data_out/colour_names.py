"""Names the colours of a garment."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb

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


def dominant_colours(pixels: npt.NDArray[np.uint8]) -> list[str]:
    """Returns names of the colours of `uint8 (N, 3)`, RGB, the most frequent first; an empty list without pixels.

    Each pixel counts for the named colour that is nearest to it in CIELAB.
    """
    if not len(pixels):
        return []
    sampled = _lab(np.asarray(pixels[:: max(len(pixels) // MAX_PIXELS, 1)] / 255, np.float32))
    names = list(NAMES)
    named = _lab(np.array([to_rgb(colour) for colour in NAMES.values()], np.float32))
    nearest = np.linalg.norm(sampled[:, None] - named[None], axis=2).argmin(axis=1)
    shares = np.bincount(nearest, minlength=len(names)) / len(nearest)
    return [names[number] for number in np.argsort(-shares) if shares[number] >= MIN_SHARE]


def _lab(rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return cv2.cvtColor(rgb.reshape(1, -1, 3), cv2.COLOR_RGB2LAB).reshape(-1, 3)
