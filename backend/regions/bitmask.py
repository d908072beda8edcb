"""Label Studio's bitmask: converts a mask to a PNG in a data URL, whose alpha channel is the mask, and back."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import warnings
import zlib

import cv2
import numpy as np
from PIL import Image as Pillow

from backend.domain import Mask
from backend.errors import RegionError
from backend.images.open_picture import open_picture

# The bytes of a PNG that precede its width and height.
PNG_HEAD = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def mask_to_data_url(mask: Mask) -> str:
    """Encodes the mask as the alpha channel of a PNG: an opaque PNG would paint the whole image."""
    rgba = np.zeros((*mask.shape, 4), np.uint8)
    rgba[..., 3] = mask * np.uint8(255)
    encoded = cv2.imencode(".png", rgba)[1].tobytes()
    return "data:image/png;base64," + base64.b64encode(encoded).decode()


def data_url_to_mask(url: str, *, size_wh: tuple[int, int]) -> Mask:
    """Decodes a bitmask to a mask `bool (H, W)`, True where the PNG's alpha is not 0.

    Raises:
        RegionError: the URL holds no PNG, or a PNG of another size than `size_wh`.
    """
    try:
        encoded = base64.b64decode(url.partition(",")[2], validate=True)
        width, height = _size_wh(encoded)
        if (width, height) != size_wh:
            raise RegionError(f"its bitmask has {width} x {height} pixels, but its image {size_wh[0]} x {size_wh[1]}.")
        with warnings.catch_warnings():
            # The PNG is exactly as large as its image, so it is no decompression bomb.
            warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
            with open_picture(io.BytesIO(encoded), formats=["PNG"]) as picture:
                return np.asarray(picture.convert("RGBA").getchannel("A")) > 0
    except Pillow.DecompressionBombError as e:
        raise RegionError(f"its bitmask of {size_wh[0]} x {size_wh[1]} pixels is too large.") from e
    except (binascii.Error, OSError, SyntaxError, ValueError, LookupError, struct.error, zlib.error) as e:
        raise RegionError("its bitmask is not a PNG.") from e


def _size_wh(encoded: bytes) -> tuple[int, int]:
    """Reads the size in pixels from a PNG's header, before Pillow allocates memory for the picture."""
    if not encoded.startswith(PNG_HEAD):
        raise RegionError("its bitmask is not a PNG.")
    width, height = struct.unpack_from(">II", encoded, len(PNG_HEAD))
    return width, height
