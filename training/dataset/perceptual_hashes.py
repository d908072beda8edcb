"""Hashes a picture as it is, mirrored, cropped and turned, so that copies of it are known as such."""

from __future__ import annotations

import cv2
import imagehash
import numpy as np
from PIL import Image as PillowImage

from backend.domain import Pixels

# The picture is reduced to this longer side first: the hashes look at 32 x 32 pixels.
REDUCED_PX = 256
CROPPED_SHARE = 0.1
TURNED_DEGREES = 3.0


def perceptual_hashes(pixels: Pixels) -> tuple[str, ...]:
    """Returns perceptual hashes (pHash, 64 bits) of 16 hex digits: of the picture, of its mirror image, of views of it.

    The views lack a tenth of width and height, at the corners, at top or bottom, or all around, or are turned by three
    degrees. Two pictures are compared by the first two hashes of each and all hashes of the other.

    Args:
        pixels: `uint8 (H, W, 3)`, RGB.
    """
    scale = min(1.0, REDUCED_PX / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    y, x = round(CROPPED_SHARE * height), round(CROPPED_SHARE * width)
    crops = [
        small[y // 2 : height - y // 2, x // 2 : width - x // 2],
        small[y:, x:],
        small[y:, : width - x],
        small[: height - y, x:],
        small[: height - y, : width - x],
        small[y:],
        small[: height - y],
    ]
    turned = [_turned(small, degrees) for degrees in (TURNED_DEGREES, -TURNED_DEGREES)]
    return tuple(_phash(view) for view in (small, small[:, ::-1], *crops, *turned) if view.size)


def _turned(pixels: Pixels, degrees: float) -> Pixels:
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _phash(pixels: Pixels) -> str:
    return str(imagehash.phash(PillowImage.fromarray(np.ascontiguousarray(pixels))))
