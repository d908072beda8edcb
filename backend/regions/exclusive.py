"""Garments in layers, drawn front to back: a new region gets no pixel of the regions that are accepted already."""

from __future__ import annotations

import numpy as np

from backend.domain import Mask
from backend.label_studio.payloads import DrawnRegions
from backend.regions.decode import iter_decoded


def occupied_pixels(drawn: DrawnRegions, size_wh: tuple[int, int], *, but: str | None = None) -> Mask:
    """Returns `bool (H, W)`: the pixels that the regions of the task's open annotation cover.

    Label Studio sends these regions with each prompt, as it last saved them; it saves a draft some seconds after a
    change. A region that cannot be read, or was drawn on an image of another size, covers no pixel.
    """
    width, height = size_wh
    occupied = np.zeros((height, width), bool)
    for decoded in iter_decoded([one for one in drawn.saved() if but is None or one.get("id") != but], size_wh=size_wh):
        if not isinstance(decoded, str):
            occupied |= decoded.mask
    return occupied
