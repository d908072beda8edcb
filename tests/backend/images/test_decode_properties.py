"""Damaged, mislabelled and hostile image files: a picture or an `ImageError`, in bounded memory and time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from backend.errors import DrapeError, ImageError
from backend.images.decode import decode_image
from backend.images.fetch import ImageStore
from backend.settings import Settings
from tests.backend.images.test_decode import KINDS, halves, saved
from tests.backend.junk import WORDS
from tests.backend.regions.test_brush_properties import damaged

# Hypothesis shows the file that it found; that it is long is no fault.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

PICTURE = Pillow.fromarray(halves())


def exif(orientation: Any = 6) -> Pillow.Exif:
    found = Pillow.Exif()
    found[0x0112] = orientation
    found[0x010E] = "a saree"
    found.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return found


SEEDS = [
    *(content() for _, content, _, _ in KINDS),
    *(saved(PICTURE, kind, exif=exif()) for kind in ("JPEG", "PNG", "WEBP", "TIFF")),
    *(saved(PICTURE, kind, icc_profile=b"junk" * 40) for kind in ("JPEG", "PNG", "WEBP", "TIFF")),
    *(saved(PICTURE, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
    *(saved(PICTURE.convert("1"), "TIFF", compression=name) for name in ("group3", "group4")),
    saved(PICTURE, "MPO", save_all=True, append_images=[PICTURE]),
    saved(PICTURE, "JPEG", progressive=True),
    saved(PICTURE, "PNG", save_all=True, append_images=[Pillow.new("RGB", PICTURE.size)]),
    saved(PICTURE.quantize(16), "BMP"),
]


@given(st.sampled_from(SEEDS).flatmap(damaged), st.sampled_from([None, 16]))
def test_a_damaged_file_is_a_picture_or_is_not(content: bytes, side_px: int | None) -> None:
    with contextlib.suppress(ImageError):
        image = decode_image(content, source="s", max_pixels=200_000, side_px=side_px)
        assert image.pixels.dtype == np.uint8 and image.pixels.ndim == 3 and image.pixels.shape[2] == 3
        assert side_px is None or max(image.size_wh) <= side_px


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF"]))
def test_junk_is_no_picture(content: bytes, head: bytes) -> None:
    with contextlib.suppress(ImageError):
        decode_image(head + content, source="s", max_pixels=200_000)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_file_that_breaks_off_anywhere_is_a_picture_or_is_not(kind: str) -> None:
    content = saved(PICTURE, kind)
    for length in range(0, len(content), max(len(content) // 200, 1)):
        with contextlib.suppress(ImageError):
            decode_image(content[:length], source="s", max_pixels=10_000)


def chunk(kind: bytes, body: bytes) -> bytes:
    return pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, bits: int = 8, colour: int = 0, rows: int | None = None) -> bytes:
    """A black PNG of `rows` rows, whatever its head claims; `chunks` stand before the pixels."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    row = bytes((width * bits * channels + 7) // 8 + 1) if rows != 0 else b""
    packer = zlib.compressobj(1)
    body = b"".join([packer.compress(row) for _ in range(height if rows is None else rows)]) + packer.flush()
    head = chunk(b"IHDR", pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animated(kind: str, frames: int) -> bytes:
    rng = np.random.default_rng(0)
    pictures = [Pillow.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)) for _ in range(frames)]
    return saved(pictures[0], kind, save_all=True, append_images=pictures[1:])


def worded() -> bytes:
    """EXIF whose orientation is a word."""
    return b"Exif\0\0II*\0" + pack("<IHHHI", 8, 1, 0x0112, 2, 3) + b"up\0\0" + bytes(4)


def many_scans() -> bytes:
    """A JPEG of 100 megapixels that has the decoder walk over all of them 1,000 times."""
    content = saved(Pillow.new("L", (10_000, 9_000)), "JPEG", progressive=True)
    return content[:-2] + content[content.rfind(b"\xff\xda") : -2] * 1000 + content[-2:]


def directory(*, entries: int, megabytes: int) -> bytes:
    """EXIF or TIFF whose entries all claim the same bytes."""
    size = megabytes * 10**6
    tags = [
        (256, 3, 1, 9),
        (257, 3, 1, 9),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (274, 3, 1, 6),
        (277, 3, 1, 1),
        (278, 3, 1, 9),
        (279, 4, 1, 81),
    ]
    tags += [(40_000 + number, 7, size - 100, 8) for number in range(entries)]
    body = b"".join(pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + pack("<I", 8 + size) + bytes(size) + pack("<H", len(tags)) + body + bytes(4)


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) run\n"
JPEG, PNG = saved(PICTURE, "JPEG"), saved(PICTURE, "PNG")
NOT_READ, MOST = "not an image in a supported format", 10**8
# What it is, the bytes, what is said; None where it is a picture.
FILES: list[tuple[str, Callable[[], bytes], str | None]] = [
    ("zero bytes", lambda: b"", NOT_READ),
    ("zeros", lambda: bytes(100_000), NOT_READ),
    ("SVG", lambda: SVG, NOT_READ),
    ("compressed SVG", lambda: zlib.compress(SVG, wbits=31), NOT_READ),
    ("HTML named .jpg", lambda: HTML, NOT_READ),
    ("PDF named .jpg", lambda: PDF, NOT_READ),
    ("PostScript, which Pillow would run", lambda: EPS, NOT_READ),
    ("GIF of 60 pictures", lambda: animated("GIF", 60), NOT_READ),
    ("WebP of 300 pictures", lambda: animated("WEBP", 300), None),
    ("PNG of 300 pictures", lambda: animated("PNG", 300), None),
    ("TIFF of 300 pictures", lambda: animated("TIFF", 300), None),
    ("MPO", lambda: saved(PICTURE, "MPO", save_all=True, append_images=[PICTURE] * 3), None),
    ("JPEG with HTML behind it", lambda: JPEG + HTML, None),
    ("PNG with a PDF and a JPEG behind it", lambda: PNG + PDF + JPEG, None),
    ("HTML with a JPEG behind it", lambda: HTML + JPEG, NOT_READ),
    ("BMP's letters before HTML", lambda: b"BM" + HTML, "damaged|not an image"),
    ("half a JPEG", lambda: JPEG[: len(JPEG) // 2], "damaged"),
    ("half a PNG", lambda: PNG[: len(PNG) // 2], "damaged"),
    ("half a WebP", lambda: saved(PICTURE, "WEBP")[:100], "damaged|not an image"),
    ("a JPEG's first three bytes", lambda: JPEG[:3], "damaged|not an image"),
    ("PNG that claims 100,000 x 100,000", lambda: png(100_000, 100_000, rows=0), "more than 100,000,000"),
    ("PNG that claims 12,000 x 12,000", lambda: png(12_000, 12_000, rows=0), "12000 x 12000 pixels, more than"),
    ("PNG that claims 2**31 x 1", lambda: png(2**31 - 1, 1, rows=0), "more than"),
    ("PNG that claims no pixels", lambda: png(0, 10), "damaged|not an image"),
    ("100,000 x 1", lambda: png(100_000, 1), None),
    ("1 x 100,000", lambda: png(1, 100_000), None),
    ("megabytes of ICC profile", lambda: png(9, 9, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))), "damaged"),
    ("junk as ICC profile", lambda: saved(PICTURE, "JPEG", icc_profile=b"\xff" * 60_000), None),
    (
        "text that unpacks to a gigabyte",
        lambda: png(9, 9, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6)))] * 1000),
        "damaged",
    ),
    ("a million chunks", lambda: png(9, 9, chunk(b"abCd", b"") * 10**6), "20,000 parts"),
    ("a million pixels' chunks", lambda: png(9, 9, chunk(b"IDAT", b"") * 10**6), "20,000 parts"),
    ("a million segments", lambda: JPEG[:2] + b"\xff\xe5\0\2" * 10**6 + JPEG[2:], "20,000 parts"),
    ("a million filling bytes", lambda: JPEG[:2] + b"\xff" * 10**6 + JPEG[2:], "20,000 parts"),
    ("as many segments as a camera writes", lambda: JPEG[:2] + b"\xff\xe5\0\2" * 900 + JPEG[2:], None),
    ("junk as EXIF", lambda: saved(PICTURE, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\xee" * 9999), None),
    ("EXIF that breaks off", lambda: saved(PICTURE, "JPEG", exif=exif().tobytes()[:40]), None),
    ("EXIF with a word for its orientation", lambda: saved(PICTURE, "JPEG", exif=worded()), None),
    ("EXIF with an orientation that there is not", lambda: saved(PICTURE, "JPEG", exif=exif(77)), None),
    (
        "EXIF that claims the same megabytes again and again",
        lambda: png(9, 9, chunk(b"eXIf", directory(entries=2000, megabytes=20))),
        None,
    ),
    ("TIFF that claims the same megabytes again and again", lambda: directory(entries=2000, megabytes=20), None),
    ("JPEG of a thousand scans", many_scans, "more than 100 scans"),
    ("CMYK", lambda: saved(PICTURE.convert("CMYK"), "JPEG"), None),
    (
        "wide values that are no numbers",
        lambda: saved(Pillow.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"),
        None,
    ),
    (
        "wide values without end",
        lambda: saved(Pillow.fromarray(np.array([[np.inf, -np.inf, 1e38]], np.float32)), "TIFF"),
        None,
    ),
]


@pytest.mark.parametrize(("content", "said"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_every_hostile_file_is_a_picture_or_an_error_with_a_sentence(
    content: Callable[[], bytes], said: str | None
) -> None:
    encoded = content()
    for side_px in (None, 640):
        if said is None:
            assert decode_image(encoded, source="photo.jpg", max_pixels=MOST, side_px=side_px).pixels.size
        else:
            with pytest.raises(ImageError, match=said) as refused:
                decode_image(encoded, source="photo.jpg", max_pixels=MOST, side_px=side_px)
            assert "photo.jpg" in str(refused.value) and len(str(refused.value)) < 600


MEASURE = """
import resource, sys, warnings
from pathlib import Path
from backend.images.fetch import decode_image
encoded = Path(sys.argv[1]).read_bytes()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_image(encoded, source="s", max_pixels=10**8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
# What it is, a small file of 36 megapixels.
LARGE: list[tuple[str, Callable[[], bytes]]] = [
    ("transparent", lambda: png(6000, 6000, colour=6)),
    ("16 bits", lambda: png(6000, 6000, bits=16)),
    ("turned", lambda: saved(Pillow.new("RGB", (6000, 6000)), "JPEG", exif=exif())),
]


@pytest.mark.slow
@pytest.mark.parametrize("content", [case[1] for case in LARGE], ids=[case[0] for case in LARGE])
def test_a_large_picture_takes_the_memory_of_itself_and_of_what_comes_back(
    content: Callable[[], bytes], tmp_path: Path
) -> None:
    file = tmp_path / "bomb"
    file.write_bytes(content())
    command = [sys.executable, "-c", MEASURE, str(file)]
    measured = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    # Linux counts in kilobytes, macOS in bytes. Pillow holds 4 bytes a pixel, and 3 come back.
    peak = int(measured.stdout) * (1 if sys.platform == "darwin" else 1024)
    assert peak < 9 * 36_000_000


def store(url: str, **limits: Any) -> ImageStore:
    return ImageStore(Settings(label_studio_url=url, **limits), bearer=lambda: "Bearer x")


@pytest.fixture(scope="module")
def away() -> ImageStore:
    """A store whose Label Studio is away."""
    return store("http://127.0.0.1:1")


@pytest.mark.slow
@given(st.one_of(WORDS, WORDS.map("http://127.0.0.1:1/{}".format), WORDS.map("s3://{}".format), st.text()))
def test_any_text_is_an_address_or_is_not(away: ImageStore, url: str) -> None:
    with pytest.raises(DrapeError) as refused:
        away.load(url, task_id=1)
    assert len(str(refused.value).encode()) < 2000


# Each of these got past the errors that are named.
ADDRESSES = [
    "http://[",
    "//[",
    "/a\x00",
    "x" * 70_000,
    "s3://\ud800",
    "http://\ud800/data/a.png",
    "/\ud800",
    "data:image/png;base64," + "A" * 10**6,
    "data:\ud800,\ud800",
    "data:",
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_that_is_none_is_said_in_a_line(url: str) -> None:
    with pytest.raises(
        ImageError, match=r"invalid address|not http or https|not an image|is empty|IMAGE_HOSTS"
    ) as refused:
        store("http://127.0.0.1:1").load(url, task_id=1)
    assert len(str(refused.value).encode()) < 500


PACKED = zlib.compress(bytes(10**8), wbits=31)


class Hostile(BaseHTTPRequestHandler):
    """A server of images that sends what it likes."""

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        """Answers by the address."""
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://[")
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/gzip":
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(PACKED)
            return
        self.send_header("Content-Length", str(10**12))
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"x" if self.path == "/slow" else bytes(100_000))
                self.wfile.flush()
                time.sleep(0.05 if self.path == "/slow" else 0)


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    """Its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# address, seconds that it has, what is said
SENT = [
    ("/away", 60.0, "invalid address"),
    ("/slow", 0.5, "longer than 0.5 s"),
    ("/endless", 60.0, "larger than 1,000,000 bytes"),
    # It was not asked for, and is not unpacked.
    ("/gzip", 60.0, "not an image"),
]


@pytest.mark.parametrize(("path", "timeout_s", "said"), SENT)
def test_a_server_that_sends_what_it_likes_is_left(hostile: str, path: str, timeout_s: float, said: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=said):
            store(hostile, image_max_bytes=1_000_000, image_timeout_s=timeout_s).load(path, task_id=1)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_large_picture_waits_for_another() -> None:
    content, large_image_lock = saved(Pillow.new("L", (6000, 5000)), "JPEG"), threading.Lock()
    decoded = threading.Event()

    def decode(side_px: int | None) -> None:
        decode_image(content, source="s", max_pixels=10**8, side_px=side_px, large_image_lock=large_image_lock)
        decoded.set()

    with large_image_lock:
        # Made small on the way it is not large.
        decode(640)
        decoded.clear()
        thread = threading.Thread(target=decode, args=(None,))
        thread.start()
        assert not decoded.wait(2)
    thread.join(60)
    assert decoded.is_set()
