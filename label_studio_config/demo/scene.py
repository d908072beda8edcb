"""The surroundings of the figures: walls, floors, plants, doorways, furniture, light."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from label_studio_config.demo.canvas import Canvas, ellipse
from label_studio_config.demo.fabric import Fabric, draw_fabric, plain


def draw_background(rng: np.random.Generator, *, width: int, height: int) -> npt.NDArray[np.float32]:
    """Draws a wall in gradient light, mostly with a floor: `float32 (height, width, 3)`, RGB in `[0, 255]`."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wall, corner = (np.array(draw_fabric(rng).base, np.float32) * 0.35 + rng.uniform(70, 150) for _ in range(2))
    share = (np.cos(angle := rng.uniform(0, np.pi)) * x / width + np.sin(angle) * y / height)[..., None]
    picture = wall + (corner - wall) * np.clip(share, 0, 1)
    if rng.random() < 0.35:
        brick = Fabric(
            base=(1, 1, 1), accent=(0.86, 0.86, 0.86), pattern="checks", period_px=rng.uniform(30, 70), folds=0.0
        )
        picture *= brick.paint(top=0, left=0, height=height, width=width)
    if rng.random() < 0.8:
        horizon = int(height * rng.uniform(0.68, 0.88))
        floor = np.array(draw_fabric(rng).base, np.float32) * 0.3 + rng.uniform(40, 130)
        depth = np.linspace(0.85, 1.1, height - horizon, dtype=np.float32)[:, None, None]
        picture[horizon:] = floor * depth
    grain = rng.normal(0, rng.uniform(2, 9), (height // 4 + 1, width // 4 + 1, 1)).astype(np.float32)
    picture += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    return picture.astype(np.float32)


def draw_furniture(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws doors, frames, plants and curtains behind the figures; none of them is a garment."""
    height, width = canvas.owner.shape
    for _ in range(int(rng.integers(0, 4))):
        x, w, h = rng.uniform(0, width), rng.uniform(0.06, 0.25) * width, rng.uniform(0.2, 0.7) * height
        top = rng.uniform(0.05, 0.5) * height
        match int(rng.integers(3)):
            case 0:
                frame = np.array([[x, top], [x + w, top], [x + w, top + h], [x, top + h]])
                canvas.fill(frame, plain(draw_fabric(rng).base))
                inner = frame.mean(axis=0) + 0.85 * (frame - frame.mean(axis=0))
                canvas.fill(inner, plain(draw_fabric(rng).base))
            case 1:
                curtain = draw_fabric(rng).draped(fold_angle=0.0, fold_px=rng.uniform(16, 34), folds=0.2)
                canvas.fill(np.array([[x, 0], [x + w, 0], [x + w * 0.9, h + top], [x - w * 0.1, h + top]]), curtain)
            case _:
                green = plain((rng.uniform(30, 80), rng.uniform(80, 140), rng.uniform(30, 70)))
                root = np.array([x, height * rng.uniform(0.75, 0.95)])
                for angle in rng.uniform(-1.2, 1.2, 9):
                    long = rng.uniform(0.08, 0.2) * height
                    tip = root + long * np.array([np.sin(angle), -np.cos(angle)])
                    radii = np.array([long / 2, long / 9])
                    canvas.fill(ellipse((root + tip) / 2, radii, angle=angle - np.pi / 2), green, shade=long / 9)


def draw_prop(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a low object in front of the figures (bench, pot, railing), which hides a little of hems and legs."""
    height, width = canvas.owner.shape
    colour = plain(draw_fabric(rng).base)
    if rng.random() < 0.5:
        top, thick = rng.uniform(0.8, 0.92) * height, rng.uniform(0.02, 0.04) * height
        left, right = rng.uniform(-0.1, 0.4) * width, rng.uniform(0.5, 1.1) * width
        canvas.fill(np.array([[left, top], [right, top], [right, top + thick], [left, top + thick]]), colour)
    else:
        radius = rng.uniform(0.04, 0.09) * height
        centre = np.array([rng.uniform(0.1, 0.9) * width, height - radius * rng.uniform(0.4, 1.2)])
        canvas.fill(ellipse(centre, np.array([radius, radius * 1.1])), colour, shade=radius / 2)


def light(pixels: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Adds light from one side, a vignette, exposure, sensor noise, a little blur: returns `uint8 (H, W, 3)`."""
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    fall = 1 + rng.uniform(0, 0.35) * (np.cos(angle) * x + np.sin(angle) * y) - rng.uniform(0, 0.5) * (x * x + y * y)
    tint = 1 + rng.normal(0, 0.03, 3).astype(np.float32)
    lit = pixels * (fall[..., None] * rng.uniform(0.8, 1.15) * tint)
    if rng.random() < 0.5:
        lit = cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.4, 0.9))
    lit = lit + rng.normal(0, rng.uniform(1, 5), lit.shape[:2]).astype(np.float32)[..., None]
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)
