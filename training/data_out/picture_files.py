"""Writes pictures as files: OpenCV's own `imwrite` says nothing when the disk is full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from backend.domain import Pixels


def write_picture(path: Path, pixels: Pixels, options: Sequence[int] = ()) -> None:
    """Encodes a picture by its file's extension and writes it, with its parent folders.

    Args:
        pixels: `uint8 (H, W, 3)`, RGB, or `uint8 (H, W, 4)`, RGBA.
        options: OpenCV's, such as `[cv2.IMWRITE_JPEG_QUALITY, 95]`.

    Raises:
        OSError: the file cannot be written, or not as a whole.
    """
    conversion = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    encoded = cv2.imencode(path.suffix, cv2.cvtColor(pixels, conversion), list(options))[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.tobytes())
