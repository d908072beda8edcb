"""A picture that records which layer each pixel shows."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from label_studio_config.demo.fabric import Fabric

Points = npt.NDArray[np.float64]
SUBPIXEL_BITS = 4


def smooth(points: Points, *, rounds: int = 3) -> Points:
    """Cuts the corners of a closed outline `(N, 2)`, `rounds` times (Chaikin 1974): returns `(N * 2**rounds, 2)`."""
    for _ in range(rounds):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1).reshape(-1, 2)
    return points


class Canvas:
    """Layers painted back to front.

    Attributes:
        pixels: `float32 (H, W, 3)`, RGB in `[0, 255]`.
        owner: `int16 (H, W)`: number of the garment in each pixel's topmost layer; 0 where there is none.
        whole: number of a garment → `bool (H, W)`, where it is painted, also under later layers.
    """

    def __init__(self, background: npt.NDArray[np.float32]) -> None:
        self.pixels = background
        self.owner = np.zeros(background.shape[:2], np.int16)
        self.whole: dict[int, npt.NDArray[np.bool_]] = {}

    def fill(self, outline: Points, fabric: Fabric, *, owner: int = 0, shade: float = 0.0) -> None:
        """Paints the closed `outline`, `(N, 2)` in pixels, x before y, in `fabric`, on top of all earlier layers.

        Args:
            owner: number of the garment; 0 for skin, props and other things.
            shade: width in pixels of the darker rim that makes the layer look round; 0 for none.
        """
        height, width = self.owner.shape
        left, top = np.floor(outline.min(axis=0)).astype(int) - 1
        right, bottom = np.ceil(outline.max(axis=0)).astype(int) + 2
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        if right <= left or bottom <= top:
            return
        alpha = np.zeros((bottom - top, right - left), np.uint8)
        # `outline` counts from the corners of pixels, OpenCV from their centres, half a pixel further.
        shifted = np.round((outline - (left + 0.5, top + 0.5)) * (1 << SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(alpha, [shifted], 255, lineType=cv2.LINE_AA, shift=SUBPIXEL_BITS)
        colour = fabric.paint(top=top, left=left, height=bottom - top, width=right - left)
        if shade > 0:
            depth = cv2.distanceTransform((alpha >= 128).astype(np.uint8), cv2.DIST_L2, 3)
            colour = colour * (0.72 + 0.28 * np.clip(depth / shade, 0, 1))[..., None]
        window = self.pixels[top:bottom, left:right]
        weight = (alpha.astype(np.float32) / 255)[..., None]
        window += weight * (colour - window)
        self.owner[top:bottom, left:right][alpha >= 128] = owner
        if owner:
            whole = self.whole.setdefault(owner, np.zeros(self.owner.shape, bool))
            whole[top:bottom, left:right] |= alpha >= 128

    def limb(self, joints: Points, widths: npt.NDArray[np.float64], fabric: Fabric, *, owner: int = 0) -> None:
        """Paints a tapering limb along `joints` `(N, 2)`; `widths` `(N,)` are its widths there, in pixels."""
        for (start, end), (first, last) in zip(pairwise(joints), pairwise(widths), strict=True):
            self.fill(capsule(start, end, first, last), fabric, owner=owner, shade=max(first, last) / 3)


def capsule(start: Points, end: Points, first: float, last: float) -> Points:
    """Returns the outline of a rounded, tapering bar from `start` to `end`, `first` and `last` pixels wide there."""
    along = end - start
    angle = float(np.arctan2(along[1], along[0]))
    back = np.linspace(angle + np.pi / 2, angle + 3 * np.pi / 2, 9)
    front = np.linspace(angle - np.pi / 2, angle + np.pi / 2, 9)
    return np.concatenate(
        [
            start + first / 2 * np.stack([np.cos(back), np.sin(back)], axis=1),
            end + last / 2 * np.stack([np.cos(front), np.sin(front)], axis=1),
        ]
    )


def ellipse(centre: Points, radii: Points, *, angle: float = 0.0) -> Points:
    """Returns the outline of an ellipse, turned by `angle` radians clockwise on the screen."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    flat = np.stack([radii[0] * np.cos(turn), radii[1] * np.sin(turn)], axis=1)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return centre + flat @ rotation
