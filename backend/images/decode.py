"""Decodes an image file to upright RGB pixels, within limits on pixels, pieces and time."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from backend.domain import Image, Pixels
from backend.errors import ImageError, first_line
from backend.images.open_picture import open_picture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
WHITE_16_BIT = 65_535
# An address may contain the image itself (`data:`); a message shows no more of it than this.
SHOWN_CHARACTERS = 300
# Larger pictures are decoded one at a time, so that several at once do not fill the memory.
LARGE_PIXELS = 25_000_000
# Pixels are converted one band of rows at a time, so that a large picture is never in memory twice.
BAND_PIXELS = 1 << 20
# Cameras and encoders write about a dozen scans into a JPEG; decoding each visits all pixels.
MAX_SCANS = 100
# Pillow takes microseconds for each chunk of a PNG and each segment of a JPEG, even if it is empty.
MAX_PIECES = 20_000
PNG_HEAD, JPEG_HEAD, SCAN = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xda"
# The bytes of a BMP that say how it is packed, and their values for run lengths at 8 or 4 bits per pixel.
BMP_HEAD, BMP_PACKING, RUN_LENGTHS = b"BM", slice(30, 34), (b"\x01\0\0\0", b"\x02\0\0\0")
# The bytes that follow a 255 in a JPEG where no segment begins: fill bytes, and markers without content.
MARKERS_WITHOUT_CONTENT = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD9)})
ORIENTATION, TILE_WIDTH, TILE_HEIGHT = 0x0112, 0x0142, 0x0143
# EXIF's orientation → the function that turns the pixels upright.
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}
# The exceptions that Pillow's readers raise for damaged files.
DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)


def decode_image(
    encoded: bytes,
    *,
    source: str,
    max_pixels: int,
    side_px: int | None = None,
    large_image_lock: AbstractContextManager[object] | None = None,
) -> Image:
    """Decodes a photograph to upright RGB; of an animated or layered file, the first picture.

    Transparent pixels are shown on white, as on Label Studio's page; 16 bits per channel become 8. An image whose EXIF
    data cannot be read is not turned.

    Args:
        side_px: reduces a larger photograph so that its longer side has this many pixels; a JPEG is decoded at a
            reduced size where that suffices.
        large_image_lock: held while a large picture is decoded.

    Raises:
        ImageError: the format is unknown, the file is damaged, or it has more than `max_pixels`; names `source`.
    """
    _check_pieces(encoded, source=source)
    try:
        with warnings.catch_warnings():
            # `max_pixels` is checked before any pixel is decoded; Pillow's other warnings do not make a file unusable.
            for kind in (Pillow.DecompressionBombWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            pixels, orientation, full_wh = _read(encoded, source, max_pixels, side_px, large_image_lock)
    except UnidentifiedImageError as e:
        raise ImageError(f"The file '{source}' is not an image in a supported format: {', '.join(FORMATS)}.") from e
    except Pillow.DecompressionBombError as e:
        raise ImageError(f"The image '{source}' has more than {max_pixels:,} pixels (IMAGE_MAX_PIXELS).") from e
    except DECODING_ERRORS as e:
        raise ImageError(f"The image '{source}' is damaged: {shorten(first_line(e))}") from e
    reduced = side_px is not None and max(full_wh) > side_px
    if side_px is not None and reduced:
        pixels = cv2.resize(pixels, reduced_size(full_wh, side_px), interpolation=cv2.INTER_AREA)
    if orientation in UPRIGHT:
        pixels = np.ascontiguousarray(UPRIGHT[orientation](pixels))
        full_wh = full_wh[::-1] if orientation > 4 else full_wh
    key = hashlib.sha256(encoded).hexdigest()
    return Image(pixels=pixels, key=key, source=source, original_wh=full_wh if reduced else None)


def _read(
    encoded: bytes, source: str, max_pixels: int, side_px: int | None, lock: AbstractContextManager[object] | None
) -> tuple[Pixels, int, tuple[int, int]]:
    """The pixels as stored in the file, their EXIF orientation, and the whole picture's width and height in pixels."""
    with open_picture(io.BytesIO(encoded), formats=FORMATS) as picture:
        full_wh = picture.size
        tile_wh = _tile(picture)
        for what, (width, height) in (("", full_wh), ("a tile of ", tile_wh)):
            if width * height > max_pixels:
                raise ImageError(
                    f"The image '{source}' has {what}{width} x {height} pixels, more than "
                    f"{max_pixels:,} (IMAGE_MAX_PIXELS)."
                )
        if side_px is not None:
            # Has an effect on JPEGs only: they are decoded at a half, quarter or eighth, but no smaller than needed.
            picture.draft(None, reduced_size(full_wh, side_px))
        large = max(picture.width * picture.height, tile_wh[0] * tile_wh[1]) > LARGE_PIXELS
        with lock if large and lock is not None else nullcontext():
            # Pillow turns the pixels of a TIFF as it loads them, so the orientation is read afterwards.
            picture.load()
            return _rgb(picture), _orientation(picture), full_wh


def _tile(picture: Pillow.Image) -> tuple[int, int]:
    """Width and height of a TIFF's tiles, which are decoded whole even if the picture is smaller; 0 without tiles."""
    if not isinstance(picture, TiffImageFile):
        return 0, 0
    return int(picture.tag_v2.get(TILE_WIDTH, 0)), int(picture.tag_v2.get(TILE_HEIGHT, 0))


def _check_pieces(encoded: bytes, *, source: str) -> None:
    """Refuses a file, before it is opened, if its pieces alone would take minutes to read."""
    if next(islice(_pieces(encoded), MAX_PIECES, None), None) is not None:
        raise ImageError(f"The image '{source}' has more than {MAX_PIECES:,} parts and would take too long to read.")
    if encoded.startswith(BMP_HEAD) and encoded[BMP_PACKING] in RUN_LENGTHS:
        # Pillow unpacks run lengths pixel by pixel: a kilobyte may take a minute.
        raise ImageError(f"The image '{source}' is a run-length encoded BMP, which is not supported. Save it as a PNG.")
    if encoded.startswith(JPEG_HEAD) and encoded.count(SCAN) > MAX_SCANS:
        raise ImageError(
            f"The image '{source}' is a JPEG of more than {MAX_SCANS} scans and would take too long to read."
        )


def _pieces(encoded: bytes) -> Iterator[int]:
    """Offsets of the chunks of a PNG, or of the segments before the pixels of a JPEG; none for other files."""
    is_png = encoded.startswith(PNG_HEAD)
    at = len(PNG_HEAD) if is_png else len(JPEG_HEAD)
    while at + 4 <= len(encoded) and (is_png or encoded.startswith(JPEG_HEAD)):
        yield at
        if is_png:
            at += 12 + int.from_bytes(encoded[at : at + 4], "big")
        elif encoded.startswith(SCAN, at):
            return
        elif encoded[at] == 0xFF and encoded[at + 1] not in MARKERS_WITHOUT_CONTENT:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
        else:
            at += 1


def _orientation(picture: Pillow.Image) -> int:
    """EXIF's orientation of the picture; 1 (upright) if none can be read."""
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except DECODING_ERRORS:
        return 1
    return orientation if isinstance(orientation, int) else 1


def reduced_size(size_wh: tuple[int, int], side_px: int) -> tuple[int, int]:
    """Returns the size, in pixels, at which the longer side has at most that many."""
    scale = min(side_px / max(size_wh), 1.0)
    return max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1)


def _rgb(picture: Pillow.Image) -> Pixels:
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    is_deep = picture.mode in ("I", "F") or picture.mode.startswith("I;")
    white = _white(picture) if is_deep else 0.0
    rows = max(BAND_PIXELS // picture.width, 1)
    for top in range(0, picture.height, rows):
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        pixels[top : top + rows] = _grey_band(band, white) if is_deep else np.asarray(_colour_band(band))
    return pixels


def _white(picture: Pillow.Image) -> float:
    """The value that stands for white in a picture of more than 8 bits per pixel."""
    if picture.mode.startswith("I;16"):
        return WHITE_16_BIT
    # Wider formats define no white, so the picture's own largest value is used.
    largest = float(np.nan_to_num(np.asarray(picture.getextrema(), np.float64)[1], posinf=0.0))
    return max(largest, WHITE_16_BIT) if largest > 255 else max(largest, 1e-9)


def _grey_band(band: Pillow.Image, white: float) -> Pixels:
    # Pillow's own conversion would clip 16-bit values at 255.
    values = np.asarray(band).astype(np.float64)
    grey = np.nan_to_num(np.clip(values * 255 / white, 0, 255)).round().astype(np.uint8)
    if "transparency" in band.info:
        grey[values == band.info["transparency"]] = 255
    return np.repeat(grey[..., None], 3, axis=2)


def _colour_band(band: Pillow.Image) -> Pillow.Image:
    if not band.has_transparency_data:
        return band.convert("RGB")
    opaque = Pillow.new("RGBA", band.size, "white")
    opaque.alpha_composite(band.convert("RGBA"))
    return opaque.convert("RGB")


def shorten(text: str) -> str:
    """Shortens an address or a reason for a message, and replaces characters that cannot be encoded."""
    text = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return text.encode("utf-8", "replace").decode()
