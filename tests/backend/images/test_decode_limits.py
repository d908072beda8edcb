"""Files that are no usable image, or would take much memory, are refused before they do."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow

from backend.errors import ImageError
from backend.images.decode import decode_image
from tests.backend.images.support import encoded


def test_pixels_are_rgb_rows_first() -> None:
    image = decode_image(encoded(), source="a", max_pixels=1000)
    assert image.pixels.shape == (20, 30, 3)
    assert image.pixels.dtype == np.uint8
    assert image.size_wh == (30, 20)
    assert image.pixels[0, 0].tolist() == [10, 200, 10]


def test_a_photograph_is_turned_upright() -> None:
    image = decode_image(encoded(orientation=6), source="a", max_pixels=1000)
    assert image.size_wh == (20, 30)
    assert image.pixels[0, 19].tolist() == [10, 200, 10]


# bytes, what is said
REFUSED = [
    (b"", "not an image"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    (encoded("JPEG")[:200], "damaged"),
    (encoded(size_wh=(1001, 1)), "more than"),
    (encoded("GIF"), "not an image"),
]


@pytest.mark.parametrize(("content", "said"), REFUSED)
def test_what_is_no_usable_image_is_said(content: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        decode_image(content, source="task.jpg", max_pixels=1000)


def tiled(side_px: int) -> bytes:
    """A TIFF of 10 x 10 pixels, in one tile, which is packed well."""
    packed = zlib.compress(bytes(min(side_px, 1000) ** 2))
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: side_px, 323: side_px, 324: 8, 325: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<4sI", b"II*\0", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_small_picture_in_a_giant_tile_is_refused() -> None:
    assert decode_image(tiled(1000), source="a.tif", max_pixels=1_000_000).size_wh == (10, 10)
    with pytest.raises(ImageError, match=r"a tile of 60000 x 60000 pixels.*IMAGE_MAX_PIXELS"):
        decode_image(tiled(60_000), source="a.tif", max_pixels=100_000_000)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_exif_whose_thousands_of_tags_are_the_same_bytes_takes_no_memory(kind: str) -> None:
    many = 2000
    head = b"II*\0" + struct.pack("<IH", 8, many)
    tags = b"".join(struct.pack("<HHII", tag, 1, 30_000, 8) for tag in range(1, many + 1))
    file = io.BytesIO()
    Pillow.new("RGB", (30, 20)).save(file, kind, exif=b"Exif\0\0" + head + tags + bytes(10_000))
    tracemalloc.start()
    try:
        assert decode_image(file.getvalue(), source="a", max_pixels=1000).size_wh == (30, 20)
        # All of them are 60 MB.
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("packing", "bits"), [(1, 8), (2, 4)])
def test_a_bmp_of_run_lengths_is_refused_before_it_is_unpacked(packing: int, bits: int) -> None:
    # A hundred million pixels in one row, of which the file holds one.
    runs, palette = b"\x01\x00\x00\x00", bytes(4 << bits)
    head = struct.pack("<IiiHHIIiiII", 40, 100_000_000, 1, 1, bits, packing, len(runs), 0, 0, 0, 0) + palette
    content = b"BM" + struct.pack("<IHHI", 14 + len(head) + len(runs), 0, 0, 14 + len(head)) + head + runs
    with pytest.raises(ImageError, match="run-length"):
        decode_image(content, source="a.bmp", max_pixels=100_000_000)
