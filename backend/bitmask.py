"""Label Studio's bitmask: masks ↔ a PNG in a data URL, whose alpha is the mask."""

from __future__ import annotations

import base64
import binascii
import io

import cv2
import numpy as np
from PIL import UnidentifiedImageError

# Bound here: Ultralytics later replaces `PIL.Image.open` by one that installs packages at a file which is no image.
from PIL.Image import open as open_picture

from backend.domain import Mask
from backend.errors import RegionError


def mask_to_data_url(mask: Mask) -> str:
    """A PNG whose alpha is the mask: an opaque one would paint the whole image."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., 3] = mask * np.uint8(255)
    encoded = cv2.imencode(".png", rgba)[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(encoded).decode()


def data_url_to_mask(url: str, *, size_wh: tuple[int, int]) -> Mask:
    """The mask `bool (H, W)` of a bitmask: the pixels whose alpha is not 0.

    Raises:
        RegionError: the URL holds no PNG, or one of another size.
    """
    try:
        picture = open_picture(io.BytesIO(base64.b64decode(url.partition(",")[2], validate=True)), formats=["PNG"])
        if picture.size != size_wh:
            raise RegionError(
                f"its bitmask is {picture.size[0]} x {picture.size[1]}, its image {size_wh[0]} x {size_wh[1]}."
            )
        return np.asarray(picture.convert("RGBA"))[..., 3] > 0
    except (binascii.Error, UnidentifiedImageError, OSError) as e:
        raise RegionError("its bitmask is not a PNG.") from e
