"""Garments in layers, drawn front to back: a new region gets no pixel of the regions that are accepted already."""

from __future__ import annotations

from typing import Any

import numpy as np

from backend.domain import Mask
from backend.label_studio.payloads import DrawnRegions
from backend.regions.decode import iter_decoded


def occupied_pixels(drawn: DrawnRegions, size_wh: tuple[int, int]) -> Mask:
    """Returns `bool (H, W)`: the pixels that the regions of the task's open annotation cover.

    Label Studio sends these regions with each prompt, as it last saved them; it saves a draft some seconds after a
    change. A region that cannot be read, or was drawn on an image of another size, covers no pixel.
    """
    width, height = size_wh
    occupied = np.zeros((height, width), bool)
    for decoded in iter_decoded(_regions(drawn), size_wh=size_wh):
        if not isinstance(decoded, str):
            occupied |= decoded.mask
    return occupied


def _regions(drawn: DrawnRegions) -> list[dict[str, Any]]:
    """Returns the regions of the draft that changed last or, without drafts, of the annotation that changed last."""
    for versions in (drawn.drafts, drawn.annotations):
        readable = [version for version in versions if isinstance(version, dict)] if isinstance(versions, list) else []
        if readable:
            result = max(readable, key=lambda version: str(version.get("updated_at", ""))).get("result")
            return [region for region in result if isinstance(region, dict)] if isinstance(result, list) else []
    return []
