"""The distance of colours as people see them: CIEDE2000.

Formula, and the pairs of colours of the test: G. Sharma, W. Wu, E. N. Dalal: The CIEDE2000 Color-Difference Formula:
Implementation Notes, Supplementary Test Data, and Mathematical Observations. Color Research and Application 30(1),
2005, https://doi.org/10.1002/col.20070. The numbers in brackets are its equations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Colours = npt.NDArray[np.floating[Any]]
Distances = npt.NDArray[np.floating[Any]]


def ciede2000(first: Colours, second: Colours) -> Distances:
    """Returns the distances of CIELAB colours `(…, 3)`, whose shapes are broadcast, as `(…)`.

    About 1 is the least that people see; the distance of black and white is 100.
    """
    lightness_1, chroma_1, hue_1, lightness_2, chroma_2, hue_2 = _adjusted(first, second)
    lightness_change, chroma_change = lightness_2 - lightness_1, chroma_2 - chroma_1
    grey = chroma_1 * chroma_2 == 0
    # (10): the shorter way around the circle.
    turn = hue_2 - hue_1
    turn = np.where(grey, 0, turn - 360 * (turn > 180) + 360 * (turn < -180))
    hue_change = 2 * np.sqrt(chroma_1 * chroma_2) * _sin(turn / 2)
    chroma, lightness = (chroma_1 + chroma_2) / 2, (lightness_1 + lightness_2) / 2
    # (14): the middle of that way; a grey has no hue, so the other's counts.
    hue = np.where(grey, hue_1 + hue_2, (hue_1 + turn / 2) % 360)
    lightness_scale = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    chroma_scale = 1 + 0.045 * chroma
    hue_scale = 1 + 0.015 * chroma * _hue_weight(hue)
    rotation = -_sin(60 * np.exp(-(((hue - 275) / 25) ** 2))) * 2 * _chroma_share(chroma)
    light, colourful, hued = lightness_change / lightness_scale, chroma_change / chroma_scale, hue_change / hue_scale
    # Rounding can bring equal colours below 0.
    return np.sqrt(np.maximum(light**2 + colourful**2 + hued**2 + rotation * colourful * hued, 0))


def _adjusted(first: Colours, second: Colours) -> tuple[Distances, ...]:
    """Returns lightness, chroma and hue in degrees of both, (2) to (7): a* is stretched where colours are pale."""
    (l_1, a_1, b_1), (l_2, a_2, b_2) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    stretch = 1.5 - 0.5 * _chroma_share((np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2)
    a_1, a_2 = a_1 * stretch, a_2 * stretch
    hue_1, hue_2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a_1, b_1), (a_2, b_2)))
    return l_1, np.hypot(a_1, b_1), hue_1, l_2, np.hypot(a_2, b_2), hue_2


def _chroma_share(chroma: Distances) -> Distances:
    return np.sqrt(chroma**7 / (chroma**7 + 25.0**7))


def _hue_weight(hue: Distances) -> Distances:
    """Returns T of (15), of degrees."""
    return 1 - 0.17 * _cos(hue - 30) + 0.24 * _cos(2 * hue) + 0.32 * _cos(3 * hue + 6) - 0.2 * _cos(4 * hue - 63)


def _sin(degrees: Distances) -> Distances:
    return np.sin(np.radians(degrees))


def _cos(degrees: Distances) -> Distances:
    return np.cos(np.radians(degrees))
