"""Resizes a mask to another size of its image."""

from __future__ import annotations

import cv2
import numpy as np

from backend.domain import Mask


def resize_mask(mask: Mask, size_wh: tuple[int, int]) -> Mask:
    """Returns the mask at another size of its image; a pixel belongs to the mask if the mask covers half of it."""
    if mask.shape[::-1] == size_wh:
        return mask
    return cv2.resize(mask.view(np.uint8) * 255, size_wh, interpolation=cv2.INTER_AREA) > 127
