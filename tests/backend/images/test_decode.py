"""Photographs of every kind become the pixels that Label Studio's page shows, whole or reduced."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from backend.errors import ImageError
from backend.images.decode import decode_image

ORIENTATION = 0x0112
WIDTH, HEIGHT = 60, 40
LEFT, RIGHT = (200, 40, 30), (30, 60, 190)
Array = npt.NDArray[np.uint8]


def halves() -> Array:
    """Red on the left, blue on the right, a white corner above on the left; not square."""
    pixels = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2], pixels[:, WIDTH // 2 :] = LEFT, RIGHT
    pixels[:10, :10] = 255
    return pixels


def saved(picture: Pillow.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def grey() -> Array:
    return cv2.cvtColor(halves(), cv2.COLOR_RGB2GRAY)


def grey_16(kind: str) -> bytes:
    return bytes(cv2.imencode(f".{kind}", grey().astype(np.uint16) * 257)[1])


def grey_16_transparent() -> bytes:
    dark = int(grey()[-1, -1]) * 257
    picture = Pillow.fromarray(grey().astype(np.uint16) * 257)
    return saved(picture, "PNG", transparency=dark)


def as_float() -> bytes:
    return saved(Pillow.fromarray((grey() / 255).astype(np.float32)), "TIFF")


def colour_16() -> bytes:
    return bytes(cv2.imencode(".png", halves()[..., ::-1].astype(np.uint16) * 257)[1])


def half_transparent(mode: str) -> bytes:
    """Its right half is transparent, whatever colour lies below."""
    pixels = np.dstack([halves(), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    pixels[:, WIDTH // 2 :, 3] = 0
    return saved(Pillow.fromarray(pixels).convert(mode), "PNG")


def palette_with_transparency() -> bytes:
    picture = Pillow.fromarray(halves()).quantize(8)
    return saved(picture, "PNG", transparency=picture.getpixel((WIDTH - 1, HEIGHT - 1)))


def on_white(pixels: Array) -> Array:
    pixels = pixels.copy()
    pixels[:, WIDTH // 2 :] = 255
    return pixels


def as_rgb(pixels: Array) -> Array:
    return np.repeat(pixels[..., None], 3, axis=2)


# What it is, its bytes, the pixels that are expected, by how much they may differ.
KINDS: list[tuple[str, Callable[[], bytes], Callable[[], Array], int]] = [
    ("colour JPEG", lambda: saved(Pillow.fromarray(halves()), "JPEG", quality=98, subsampling=0), halves, 12),
    ("grey JPEG", lambda: saved(Pillow.fromarray(grey()), "JPEG", quality=98), lambda: as_rgb(grey()), 8),
    ("CMYK JPEG", lambda: saved(Pillow.fromarray(halves()).convert("CMYK"), "JPEG", quality=98), halves, 12),
    ("grey PNG", lambda: saved(Pillow.fromarray(grey()), "PNG"), lambda: as_rgb(grey()), 0),
    ("16-bit grey PNG", lambda: grey_16("png"), lambda: as_rgb(grey()), 0),
    ("16-bit grey TIFF", lambda: grey_16("tiff"), lambda: as_rgb(grey()), 0),
    ("16-bit colour PNG", colour_16, halves, 0),
    ("16-bit grey PNG, one grey transparent", grey_16_transparent, lambda: on_white(as_rgb(grey())), 0),
    ("float TIFF", as_float, lambda: as_rgb(grey()), 1),
    (
        "16-bit colour TIFF",
        lambda: bytes(cv2.imencode(".tiff", halves()[..., ::-1].astype(np.uint16) * 257)[1]),
        halves,
        0,
    ),
    ("palette PNG", lambda: saved(Pillow.fromarray(halves()).quantize(8), "PNG"), halves, 3),
    ("palette, one colour transparent", palette_with_transparency, lambda: on_white(halves()), 3),
    ("alpha PNG", lambda: half_transparent("RGBA"), lambda: on_white(halves()), 0),
    ("grey with alpha", lambda: half_transparent("LA"), lambda: on_white(as_rgb(grey())), 1),
    (
        "alpha WebP",
        lambda: saved(Pillow.fromarray(np.dstack([halves(), grey() * 0])), "WEBP", lossless=True),
        lambda: np.full((HEIGHT, WIDTH, 3), 255, np.uint8),
        0,
    ),
    (
        "one bit",
        lambda: saved(Pillow.fromarray(grey() > 100), "PNG"),
        lambda: as_rgb((grey() > 100) * np.uint8(255)),
        0,
    ),
    ("BMP", lambda: saved(Pillow.fromarray(halves()), "BMP"), halves, 0),
    (
        "TIFF of two pages",
        lambda: saved(Pillow.fromarray(halves()), "TIFF", save_all=True, append_images=[Pillow.new("RGB", (9, 9))]),
        halves,
        0,
    ),
    (
        "animated WebP",
        lambda: saved(
            Pillow.fromarray(halves()),
            "WEBP",
            save_all=True,
            lossless=True,
            append_images=[Pillow.new("RGB", (WIDTH, HEIGHT))],
        ),
        halves,
        0,
    ),
]


@pytest.mark.parametrize(("content", "expected", "tolerance"), [case[1:] for case in KINDS], ids=[c[0] for c in KINDS])
def test_every_kind_looks_as_it_should(
    content: Callable[[], bytes], expected: Callable[[], Array], tolerance: int
) -> None:
    pixels = decode_image(content(), source="s", max_pixels=10_000).pixels
    assert pixels.dtype == np.uint8 and pixels.shape == (HEIGHT, WIDTH, 3)
    away = np.abs(pixels.astype(int) - expected()).max(axis=2)
    # Borders of colours are blurred by JPEG.
    assert np.quantile(away, 0.9) <= tolerance


@pytest.mark.parametrize("side_px", [None, 16])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int, side_px: int | None) -> None:
    upright = Pillow.fromarray(halves())
    undo = {
        1: None,
        2: Pillow.Transpose.FLIP_LEFT_RIGHT,
        3: Pillow.Transpose.ROTATE_180,
        4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE,
        6: Pillow.Transpose.ROTATE_90,
        7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    content = saved(stored, "JPEG", quality=98, exif=exif)
    image = decode_image(content, source="s", max_pixels=10_000, side_px=side_px)
    width, height = (WIDTH, HEIGHT) if side_px is None else (16, 11)
    assert image.size_wh == (width, height)
    assert image.original_wh == (None if side_px is None else (WIDTH, HEIGHT))
    for (row, column), colour in (((-2, 1), LEFT), ((-2, -2), RIGHT), ((1, 1), (255, 255, 255))):
        assert np.abs(image.pixels[row, column].astype(int) - colour).max() < 40


def test_reduced_is_what_making_it_small_gives() -> None:
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(rng.integers(0, 255, (900, 1300, 3)).astype(np.uint8), (0, 0), 5)
    content = saved(Pillow.fromarray(noise), "JPEG", quality=95)
    reduced = decode_image(content, source="s", max_pixels=10**7, side_px=640)
    whole = decode_image(content, source="s", max_pixels=10**7)
    assert reduced.size_wh == (640, 443) and reduced.original_wh == (1300, 900)
    assert reduced.key == whole.key
    assert (
        np.abs(cv2.resize(whole.pixels, (640, 443), interpolation=cv2.INTER_AREA).astype(int) - reduced.pixels).mean()
        < 3
    )
    # What is small already stays as it is.
    small = decode_image(content, source="s", max_pixels=10**7, side_px=2000)
    assert small.original_wh is None and np.array_equal(small.pixels, whole.pixels)


def test_a_hundred_megapixels_are_decoded_small_or_refused() -> None:
    content = saved(Pillow.new("RGB", (12_000, 8_333), (200, 40, 30)), "JPEG", quality=50)
    tracemalloc.start()
    image = decode_image(content, source="s", max_pixels=100_000_000, side_px=640)
    # Whole it would be 300 MB.
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()
    assert image.size_wh == (640, 444) and image.original_wh == (12_000, 8_333)
    with pytest.raises(ImageError, match="12000 x 8333 pixels, more than 50,000,000"):
        decode_image(content, source="s", max_pixels=50_000_000, side_px=640)
