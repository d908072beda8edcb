"""Brush and bitmask: there and back for any mask; junk is a mask or a `RegionError`, in bounded memory and time."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from label_studio_sdk.converter import brush as sdk
from PIL import Image as Pillow
from PIL import PngImagePlugin

from backend.domain import Mask
from backend.errors import RegionError
from backend.regions.bitmask import data_url_to_mask, mask_to_data_url
from backend.regions.brush import mask_to_rle, rle_to_mask
from tests.backend.junk import ANY_JSON

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 60)))


@given(MASKS)
def test_a_brush_is_the_sdks_to_the_byte_and_comes_back(mask: Mask) -> None:
    code = mask_to_rle(mask)
    assert code == sdk.mask2rle(mask.astype(np.uint8) * 255)
    assert np.array_equal(rle_to_mask(code, size_wh=(mask.shape[1], mask.shape[0])), mask)


@given(MASKS)
def test_a_bitmask_comes_back(mask: Mask) -> None:
    assert np.array_equal(data_url_to_mask(mask_to_data_url(mask), size_wh=(mask.shape[1], mask.shape[0])), mask)


@st.composite
def damaged(draw: Callable[..., Any], content: bytes) -> bytes:
    """The content with some bytes changed, left out or put in."""
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, max(len(changed) - 1, 0)))
        changed[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(changed)


DISK = (np.indices((20, 30)) ** 2).sum(axis=0) < 200
CODE = bytes(mask_to_rle(DISK))
PNG = base64.b64decode(mask_to_data_url(DISK).partition(",")[2])


@given(st.one_of(damaged(CODE).map(list), st.binary(max_size=60).map(list), ANY_JSON))
def test_a_damaged_brush_is_a_mask_or_is_not(code: list[int]) -> None:
    with contextlib.suppress(RegionError):
        assert rle_to_mask(code, size_wh=(30, 20)).shape == (20, 30)


@given(damaged(PNG))
def test_a_damaged_bitmask_is_a_mask_or_is_not(content: bytes) -> None:
    with contextlib.suppress(RegionError):
        url = "data:image/png;base64," + base64.b64encode(content).decode()
        assert data_url_to_mask(url, size_wh=(30, 20)).shape == (20, 30)


@given(st.text())
def test_any_text_is_a_bitmask_or_is_not(url: str) -> None:
    for text in (url, f"data:image/png;base64,{url}"):
        with contextlib.suppress(RegionError):
            data_url_to_mask(text, size_wh=(30, 20))


def code_of(bits: str) -> list[int]:
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


def head(values: int) -> str:
    return f"{values:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))


LONGEST = "1" + "11" + "1" * 16 + "0" * 8
# What it is, the code, the image that it says it is of.
CLAIMS = [
    ("as many values as the head can count", code_of(head(2**32 - 4) + LONGEST * 3), (32768, 32767)),
    ("a run longer than all that follows", code_of(head(4 * 900) + LONGEST), (30, 30)),
    ("an image of a trillion pixels", code_of(head(400) + LONGEST), (10**6, 10**6)),
    ("runs of one value", code_of(head(4 * 10**6) + "100" + "000" + "1" * 8), (1000, 1000)),
    ("an empty run after another", code_of(head(4 * 10**4) + "0" * 80_000), (100, 100)),
    ("bytes without end", [255] * 3_000_000, (1000, 1000)),
]


@pytest.mark.parametrize(("code", "size_wh"), [case[1:] for case in CLAIMS], ids=[case[0] for case in CLAIMS])
def test_a_brush_that_claims_much_takes_little(code: list[int], size_wh: tuple[int, int]) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        with contextlib.suppress(RegionError):
            assert not rle_to_mask(code, size_wh=size_wh).all()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A character a bit, and the bytes; no pixel that the code is too short for.
    assert peak < 20 * len(code) + 2_000_000
    assert time.process_time() - began < 20


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(chunks)
        + chunk(b"IDAT", zlib.compress(bytes(900)))
        + chunk(b"IEND", b"")
    )


def with_text() -> bytes:
    file, notes = io.BytesIO(), PngImagePlugin.PngInfo()
    notes.add_text("note", "x" * 3_000_000, zip=True)
    Pillow.new("RGBA", (30, 20)).save(file, "PNG", pnginfo=notes)
    return file.getvalue()


# What it is, the bytes, the image's size, what is said.
BOMBS = [
    (
        "a PNG of ten billion pixels",
        png_of(100_000, 100_000),
        (30, 20),
        "100000 x 100000 pixels, but its image 30 x 20",
    ),
    ("as large as its image", png_of(16_384, 16_384), (16_384, 16_384), "too large"),
    ("no pixels", png_of(0, 0), (30, 20), "0 x 0"),
    ("pixels missing", png_of(30, 200), (30, 200), "not a PNG"),
    ("megabytes of text", with_text(), (30, 20), "not a PNG"),
    ("another kind of file", b"GIF89a" + bytes(60), (30, 20), "not a PNG"),
]


@pytest.mark.parametrize(("content", "size_wh", "said"), [case[1:] for case in BOMBS], ids=[case[0] for case in BOMBS])
def test_bitmasks_that_are_bombs_are_refused(content: bytes, size_wh: tuple[int, int], said: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RegionError, match=said):
            data_url_to_mask("data:image/png;base64," + base64.b64encode(content).decode(), size_wh=size_wh)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
