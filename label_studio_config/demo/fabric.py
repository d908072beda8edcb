"""Cloth: its colours, pattern and folds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

Pattern = Literal["plain", "stripes", "checks", "motifs"]
PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "checks", "motifs")
PATTERN_SHARES = (0.52, 0.18, 0.14, 0.16)


@dataclass(frozen=True)
class Fabric:
    """The cloth of a garment, and how it hangs.

    Attributes:
        base: RGB in `[0, 255]`.
        accent: RGB of stripes, checks and motifs.
        period_px: distance between stripes or motifs.
        angle: direction of the pattern, radians.
        folds: depth of the folds' shading, 0 to about 0.3.
        fold_px: distance between folds.
        fold_angle: direction across the folds, radians; 0 gives folds that hang straight down.
        phase: offset of the pattern and the folds.
    """

    base: tuple[float, float, float]
    accent: tuple[float, float, float] = (230.0, 190.0, 90.0)
    pattern: Pattern = "plain"
    period_px: float = 14.0
    angle: float = 0.0
    folds: float = 0.12
    fold_px: float = 26.0
    fold_angle: float = 0.0
    phase: float = 0.0

    def draped(self, *, fold_angle: float, fold_px: float, folds: float | None = None) -> Fabric:
        """Returns the same cloth with other folds."""
        return replace(self, fold_angle=fold_angle, fold_px=fold_px, folds=self.folds if folds is None else folds)

    def paint(self, *, top: int, left: int, height: int, width: int) -> npt.NDArray[np.float32]:
        """Returns the cloth over a window of the picture: `float32 (height, width, 3)`, RGB in `[0, 255]`."""
        y, x = np.mgrid[top : top + height, left : left + width].astype(np.float32)
        colour = np.empty((height, width, 3), np.float32)
        colour[:] = self.base
        cover = self._pattern(x, y)
        if cover is not None:
            colour += cover[..., None] * (np.array(self.accent, np.float32) - colour)
        return colour * self._light(x, y)[..., None]

    def _pattern(self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32] | None:
        u = (x * np.cos(self.angle) + y * np.sin(self.angle)) / self.period_px + self.phase
        v = (y * np.cos(self.angle) - x * np.sin(self.angle)) / self.period_px
        match self.pattern:
            case "plain":
                return None
            case "stripes":
                return _edge(np.cos(2 * np.pi * u) - 0.35) * 0.85
            case "checks":
                return np.asarray(
                    np.maximum(_edge(np.cos(2 * np.pi * u) - 0.6), _edge(np.cos(2 * np.pi * v) - 0.6)) * 0.7, np.float32
                )
            case "motifs":
                row = np.floor(v)
                du, dv = u + 0.5 * (row % 2) - np.floor(u + 0.5 * (row % 2)) - 0.5, v - row - 0.5
                return _edge(0.07 - du * du - 1.4 * dv * dv, sharpness=40.0) * 0.9

    def _light(self, x: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        across = x * np.cos(self.fold_angle) + y * np.sin(self.fold_angle)
        along = y * np.cos(self.fold_angle) - x * np.sin(self.fold_angle)
        bend = 0.9 * np.sin(along / (3.1 * self.fold_px) + self.phase)
        wave = np.sin(2 * np.pi * across / self.fold_px + bend + 6.0 * self.phase)
        slow = np.sin(2 * np.pi * across / (2.7 * self.fold_px) + 1.7 * bend)
        return (1 + self.folds * (0.6 * wave + 0.4 * slow)).astype(np.float32)


def _edge(values: npt.NDArray[np.float32], *, sharpness: float = 6.0) -> npt.NDArray[np.float32]:
    return np.clip(0.5 + sharpness * values, 0, 1)


def draw_fabric(rng: np.random.Generator, *, hue: float | None = None) -> Fabric:
    """Draws a random cloth; `hue`, in `[0, 180)` (OpenCV's half degrees), fixes the hue of its base colour."""
    hue = rng.uniform(0, 180) if hue is None else hue
    base = _rgb(hue, rng.uniform(70, 225), rng.uniform(85, 240))
    accent = _rgb((hue + rng.uniform(25, 155)) % 180, rng.uniform(40, 220), rng.uniform(60, 250))
    if rng.random() < 0.3:
        accent = (214.0 + rng.uniform(0, 25), 175.0 + rng.uniform(0, 25), 85.0)  # zari, the gold thread
    if rng.random() < 0.15:
        base = _rgb(hue, rng.uniform(0, 30), rng.uniform(40, 250))
    return Fabric(
        base=base,
        accent=accent,
        pattern=PATTERNS[int(rng.choice(len(PATTERNS), p=PATTERN_SHARES))],
        period_px=rng.uniform(9, 26),
        angle=float(rng.choice([0.0, np.pi / 2, np.pi / 4])) + rng.normal(0, 0.05),
        folds=rng.uniform(0.04, 0.16),
        fold_px=rng.uniform(18, 46),
        fold_angle=rng.normal(0, 0.2),
        phase=rng.uniform(0, 1),
    )


def plain(rgb: tuple[float, float, float]) -> Fabric:
    """Returns a fabric of one colour without folds, for skin, hair and props."""
    return Fabric(base=rgb, folds=0.0)


def _rgb(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    pixel = np.array([[[hue % 180, saturation, value]]], np.uint8)
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]
    return float(red), float(green), float(blue)
