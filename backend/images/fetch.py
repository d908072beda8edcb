"""A task's image address → decoded pixels: fetched with Label Studio's credentials, within limits, kept in memory."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import struct
import threading
import time
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import cv2
import httpx
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from backend.domain import Image, Photo, Pixels
from backend.errors import ImageError, LabelStudioAwayError, LabelStudioError, first_line
from backend.images.open_picture import open_picture
from backend.images.pinned_host import Pinned, pinned
from backend.settings import Settings

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
CLOUD_SCHEMES = frozenset({"s3", "gs", "azure-blob"})
MAX_REDIRECTS = 3
LOCAL_FILES = "/data/local-files/"
# Where Label Studio answers with an address that it signed; no other of its redirects is believed.
SIGNS = re.compile(r"/(tasks|projects)/\d+/presign/$")
WHITE_16 = 65_535
KNOWN_IMAGES = 100_000
# Addresses of images may be the images themselves (`data:`); a message shows no more of them than this.
SHOWN_CHARACTERS = 300
# A larger picture is decoded alone, so that many at once do not fill the memory.
LARGE_PIXELS = 25_000_000
# Pixels are converted a band of rows at a time: a large picture has no second copy on the way.
BAND_PIXELS = 1 << 20
# Cameras and encoders write a dozen scans into a JPEG; each is a walk over all of its pixels.
MAX_SCANS = 100
# Pillow takes microseconds for each chunk of a PNG and each segment of a JPEG, which may be empty.
MAX_PIECES = 20_000
PNG_HEAD, JPEG_HEAD, SCAN = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xda"
# Which place in a BMP says how it is packed, and what stands there where it is by run lengths of 8 or 4 bits a pixel.
BMP_HEAD, BMP_PACKING, RUN_LENGTHS = b"BM", slice(30, 34), (b"\x01\0\0\0", b"\x02\0\0\0")
# What follows JPEG's 255 where no segment does: filling, and markers that stand alone.
ALONE = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD9)})
ORIENTATION, TILE_WIDTH, TILE_HEIGHT = 0x0112, 0x0142, 0x0143
# EXIF's orientation → what turns the pixels upright.
UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels.transpose(1, 0, 2)[:, ::-1],
    7: lambda pixels: pixels.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}
# What Pillow's readers raise, led astray by damaged files.
DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, EOFError, RuntimeError,
    MemoryError, struct.error, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class StoredImage:
    """An image that was read before: what is known of it, and how to read its pixels again. See `Photo`."""

    key: str
    source: str
    size_wh: tuple[int, int]
    read: Callable[[], Pixels]

    @property
    def pixels(self) -> Pixels:
        """`uint8 (H, W, 3)`, RGB, upright; fetched and decoded again where they are not kept."""
        return self.read()


class ImageStore:
    """Loads images, and keeps the decoded ones that were used last, up to `image_cache_bytes`."""

    def __init__(self, settings: Settings, *, bearer: Callable[[], str]) -> None:
        """`bearer` gives the `Authorization` header for Label Studio; no other host ever sees it."""
        self._settings = settings
        self._bearer = bearer
        self._client = httpx.Client(timeout=settings.label_studio_timeout_s)
        self._cache: OrderedDict[str, Image] = OrderedDict()
        self._cached_bytes = 0
        # Content and size by address, for images whose pixels are not kept any more.
        self._known: OrderedDict[str, tuple[str, tuple[int, int]]] = OrderedDict()
        self._lock = threading.Lock()
        self._large = threading.Lock()

    def open(self, url: str, *, task_id: int) -> Photo:
        """The image at `url`, without fetching or decoding it where that was done before; its pixels are read on use.

        Raises:
            ImageError, LabelStudioError: as `load`, for an image that is new.
        """
        with self._lock:
            known = self._known.get(url)
        if known is None:
            return self.load(url, task_id=task_id)
        key, size_wh = known
        return StoredImage(key, url, size_wh, lambda: self.load(url, task_id=task_id).pixels)

    def load(self, url: str, *, task_id: int) -> Image:
        """The decoded image at `url`, as the task names it; a cached one needs no network.

        Raises:
            ImageError: it is missing, refused, over a limit, or not an image.
            LabelStudioError: Label Studio, which keeps it, is away or refuses the credentials.
        """
        with self._lock:
            cached = self._cache.get(url)
            if cached is not None:
                self._cache.move_to_end(url)
                return cached
        image = self._decoded(url, task_id)
        self._keep(url, image)
        return image

    def load_reduced(self, url: str, *, task_id: int, side_px: int) -> Image:
        """The image no larger than a detector looks at it; it is not kept, as nobody asks for it again.

        Args:
            side_px: the longer side of what comes back is at most this, see `decode_image`.

        Raises:
            ImageError, LabelStudioError: as `load`.
        """
        return self._decoded(url, task_id, side_px)

    def _decoded(self, url: str, task_id: int, side_px: int | None = None) -> Image:
        source, limit = _shown(url), self._settings.image_max_pixels
        encoded = self._read(url, task_id, source=source)
        return decode_image(encoded, source=source, max_pixels=limit, side_px=side_px, alone=self._large)

    def _read(self, url: str, task_id: int, *, source: str) -> bytes:
        try:
            address = self._address(url, task_id, source=source)
            beside = self._local_file(address)
            return self._fetch(address, source=source) if beside is None else self._read_file(beside, source=source)
        except (ValueError, httpx.InvalidURL) as e:
            raise ImageError(f"The image '{source}' has no address that can be read.") from e

    def _local_file(self, address: str) -> Path | None:
        """The file that Label Studio would serve, where LOCAL_FILES_ROOT says that it lies on this machine.

        Never one outside that folder, or outside a folder that a link directly in it points to: `drape up` links the
        user's photographs there.
        """
        root = self._settings.local_files_root
        parts = urlsplit(address)
        if root is None or not self._is_label_studio(address) or not parts.path.endswith(LOCAL_FILES):
            return None
        relative = Path(next(iter(parse_qs(parts.query).get("d", [])), ""))
        if not relative.parts or relative.is_absolute() or ".." in relative.parts:
            return None
        try:
            file, allowed = (root / relative).resolve(), [root.resolve()]
            linked = (root / relative.parts[0]).resolve()
            if linked.is_dir():
                allowed.append(linked)
            return file if file.is_file() and any(file.is_relative_to(folder) for folder in allowed) else None
        except (OSError, ValueError):
            return None

    def _read_file(self, path: Path, *, source: str) -> bytes:
        limit = self._settings.image_max_bytes
        try:
            with path.open("rb") as file:
                encoded = file.read(limit + 1)
        except OSError as e:
            raise ImageError(f"The image '{source}' cannot be read: {type(e).__name__}.") from e
        if len(encoded) > limit:
            raise ImageError(f"The image '{source}' is larger than {limit:,} bytes (IMAGE_MAX_BYTES).")
        return encoded

    def _keep(self, url: str, image: Image) -> None:
        with self._lock:
            previous = self._cache.pop(url, None)
            self._cached_bytes += image.pixels.nbytes - (previous.pixels.nbytes if previous else 0)
            self._cache[url] = image
            self._known[url] = (image.key, image.size_wh)
            while len(self._known) > KNOWN_IMAGES:
                self._known.popitem(last=False)
            while self._cached_bytes > self._settings.image_cache_bytes and self._cache:
                _, dropped = self._cache.popitem(last=False)
                self._cached_bytes -= dropped.pixels.nbytes

    def _address(self, url: str, task_id: int, *, source: str) -> str:
        base = self._settings.label_studio_url.rstrip("/") + "/"
        scheme = urlsplit(url).scheme.lower()
        if scheme in CLOUD_SCHEMES:
            # Only Label Studio holds the bucket's credentials: it answers with a signed address.
            return urljoin(base, f"tasks/{task_id}/presign/?fileuri={quote(url, safe='')}")
        if scheme and scheme not in {"http", "https"}:
            raise ImageError(f"The image '{source}' is not at a web address.")
        return url if scheme else urljoin(base, url.lstrip("/"))

    def _is_label_studio(self, address: str) -> bool:
        ours, theirs = urlsplit(self._settings.label_studio_url), urlsplit(address)
        return (ours.scheme, ours.netloc.lower()) == (theirs.scheme, theirs.netloc.lower())

    def _fetch(self, address: str, *, source: str) -> bytes:
        signed = False
        ends_at = time.monotonic() + self._settings.image_timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            trusted = self._is_label_studio(address)
            host = (urlsplit(address).hostname or "").lower()
            # An address that Label Studio itself signed for a bucket is as good as its own.
            if not (trusted or signed or host in self._settings.allowed_image_hosts):
                raise ImageError(f"The image '{source}' is at {host}, which IMAGE_HOSTS does not list.")
            signed = trusted and SIGNS.search(httpx.URL(address).path) is not None
            # Not compressed again: a few bytes would unpack to gigabytes.
            headers = {"Accept-Encoding": "identity", **({"Authorization": self._bearer()} if trusted else {})}
            following, body = self._get(address, headers, ends_at, source=source, from_label_studio=trusted)
            if following is None:
                return body
            address = urljoin(address, following)
        raise ImageError(f"The image '{source}' is redirected too often.")

    def _get(
        self, address: str, headers: dict[str, str], ends_at: float, *, source: str, from_label_studio: bool
    ) -> tuple[str | None, bytes]:
        """The address of a redirect, or the body."""
        limit = self._settings.image_max_bytes
        try:
            # Label Studio's own host is the operator's word; any other is where it says it is, or refused.
            where = (
                Pinned(httpx.URL(address))
                if from_label_studio
                else pinned(address, private=self._settings.image_hosts_private, source=source)
            )
            request = self._client.stream(
                "GET", where.url, headers=headers | where.headers, extensions=dict(where.extensions)
            )
            with request as response:
                if response.is_redirect:
                    return response.headers.get("Location", ""), b""
                if response.status_code in (401, 403) and from_label_studio:
                    raise LabelStudioError("Label Studio refuses the API key that images are read with.")
                if response.status_code >= 500 and from_label_studio:
                    raise ImageError(f"Label Studio could not serve the image '{source}' ({response.status_code}).")
                if response.is_error:
                    raise ImageError(f"The image '{source}' is not there ({response.status_code}).")
                body = bytearray()
                for part in response.iter_raw():
                    body += part
                    if time.monotonic() > ends_at:
                        # Each part comes in time, and the whole never does.
                        raise ImageError(
                            f"The image '{source}' was not there after {self._settings.image_timeout_s:g} s "
                            "(IMAGE_TIMEOUT_S)."
                        )
                    if len(body) > limit:
                        raise ImageError(f"The image '{source}' is larger than {limit:,} bytes (IMAGE_MAX_BYTES).")
                return None, bytes(body)
        except httpx.HTTPError as e:
            if from_label_studio:
                raise LabelStudioAwayError(f"Label Studio does not answer at {self._settings.label_studio_url}.") from e
            raise ImageError(f"The image '{source}' cannot be fetched: {type(e).__name__}.") from e


def decode_image(
    encoded: bytes,
    *,
    source: str,
    max_pixels: int,
    side_px: int | None = None,
    alone: AbstractContextManager[object] | None = None,
) -> Image:
    """Decodes a photograph, upright and in RGB; of an animated or layered file the first picture.

    What is transparent is shown on white, as Label Studio's page shows it; 16 bits a channel become 8. EXIF that cannot
    be read turns nothing.

    Args:
        side_px: makes a larger photograph so small that its longer side has this many pixels, of a JPEG without ever
            decoding it whole.
        alone: held while a large picture is decoded.

    Raises:
        ImageError: it is not an image of a known format, is damaged, or has more than `max_pixels`; names `source`.
    """
    _check_pieces(encoded, source=source)
    try:
        with warnings.catch_warnings():
            # Our own limit is checked before any pixel is decoded; what else Pillow has to say of a file is no fault.
            for kind in (Pillow.DecompressionBombWarning, UserWarning):
                warnings.simplefilter("ignore", kind)
            pixels, orientation, whole_wh = _read(encoded, source, max_pixels, side_px, alone)
    except UnidentifiedImageError as e:
        raise ImageError(
            f"The file '{source}' is not an image of a kind that is read here: {', '.join(FORMATS)}."
        ) from e
    except Pillow.DecompressionBombError as e:
        raise ImageError(f"The image '{source}' has more than {max_pixels:,} pixels (IMAGE_MAX_PIXELS).") from e
    except DAMAGE as e:
        raise ImageError(f"The image '{source}' is damaged: {_shown(first_line(e))}") from e
    reduced = side_px is not None and max(whole_wh) > side_px
    if side_px is not None and reduced:
        pixels = cv2.resize(pixels, _fitted(whole_wh, side_px), interpolation=cv2.INTER_AREA)
    if orientation in UPRIGHT:
        pixels = np.ascontiguousarray(UPRIGHT[orientation](pixels))
        whole_wh = whole_wh[::-1] if orientation > 4 else whole_wh
    key = hashlib.sha256(encoded).hexdigest()
    return Image(pixels=pixels, key=key, source=source, original_wh=whole_wh if reduced else None)


def _read(
    encoded: bytes, source: str, max_pixels: int, side_px: int | None, alone: AbstractContextManager[object] | None
) -> tuple[Pixels, int, tuple[int, int]]:
    """The pixels as they lie in the file, EXIF's orientation of them, and the size of the whole picture in pixels."""
    with open_picture(io.BytesIO(encoded), formats=FORMATS) as picture:
        whole_wh = picture.size
        tile_wh = _tile(picture)
        for what, (width, height) in (("", whole_wh), ("a tile of ", tile_wh)):
            if width * height > max_pixels:
                raise ImageError(
                    f"The image '{source}' has {what}{width} x {height} pixels, more than "
                    f"{max_pixels:,} (IMAGE_MAX_PIXELS)."
                )
        if side_px is not None:
            # Only JPEGs know how: they are decoded at the half, quarter or eighth that is no smaller.
            picture.draft(None, _fitted(whole_wh, side_px))
        large = max(picture.width * picture.height, tile_wh[0] * tile_wh[1]) > LARGE_PIXELS
        with alone if large and alone is not None else nullcontext():
            # A TIFF's reader turns the pixels as it loads them: its orientation is asked for afterwards.
            picture.load()
            return _rgb(picture), _orientation(picture), whole_wh


def _tile(picture: Pillow.Image) -> tuple[int, int]:
    """Width and height of the tiles of a TIFF, which are decoded whole, however small the picture is; else 0."""
    if not isinstance(picture, TiffImageFile):
        return 0, 0
    return int(picture.tag_v2.get(TILE_WIDTH, 0)), int(picture.tag_v2.get(TILE_HEIGHT, 0))


def _check_pieces(encoded: bytes, *, source: str) -> None:
    """Refuses, before the file is opened, one whose pieces alone would take minutes."""
    if next(islice(_pieces(encoded), MAX_PIECES, None), None) is not None:
        raise ImageError(f"The image '{source}' is in more than {MAX_PIECES:,} pieces, which takes too long to read.")
    if encoded.startswith(BMP_HEAD) and encoded[BMP_PACKING] in RUN_LENGTHS:
        # Pillow unpacks them pixel by pixel: a kilobyte may take a minute.
        raise ImageError(f"The image '{source}' is a BMP packed by run lengths. Save it as a PNG.")
    if encoded.startswith(JPEG_HEAD) and encoded.count(SCAN) > MAX_SCANS:
        raise ImageError(
            f"The image '{source}' is a JPEG of more than {MAX_SCANS} scans, which takes too long to read."
        )


def _pieces(encoded: bytes) -> Iterator[int]:
    """Where each chunk of a PNG begins, or each segment before the pixels of a JPEG; nothing of other files."""
    is_png = encoded.startswith(PNG_HEAD)
    at = len(PNG_HEAD) if is_png else len(JPEG_HEAD)
    while at + 4 <= len(encoded) and (is_png or encoded.startswith(JPEG_HEAD)):
        yield at
        if is_png:
            at += 12 + int.from_bytes(encoded[at : at + 4], "big")
        elif encoded.startswith(SCAN, at):
            return
        elif encoded[at] == 0xFF and encoded[at + 1] not in ALONE:
            at += 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
        else:
            at += 1


def _orientation(picture: Pillow.Image) -> int:
    """EXIF's orientation of the picture; 1, upright, where there is none to be read."""
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except DAMAGE:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _fitted(size_wh: tuple[int, int], side_px: int) -> tuple[int, int]:
    scale = min(side_px / max(size_wh), 1.0)
    return max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1)


def _rgb(picture: Pillow.Image) -> Pixels:
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    wide = picture.mode in ("I", "F") or picture.mode.startswith("I;")
    white = _white(picture) if wide else 0.0
    rows = max(BAND_PIXELS // picture.width, 1)
    for top in range(0, picture.height, rows):
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        pixels[top : top + rows] = _grey_band(band, white) if wide else np.asarray(_colour_band(band))
    return pixels


def _white(picture: Pillow.Image) -> float:
    """The value that is white, of a picture of more than 8 bits a pixel."""
    if picture.mode.startswith("I;16"):
        return WHITE_16
    # Wider values have no known white: their own largest is taken.
    largest = float(np.nan_to_num(np.asarray(picture.getextrema(), np.float64)[1], posinf=0.0))
    return max(largest, WHITE_16) if largest > 255 else max(largest, 1e-9)


def _grey_band(band: Pillow.Image, white: float) -> Pixels:
    # Pillow would clip 16 bits at 255.
    values = np.asarray(band).astype(np.float64)
    seen = np.nan_to_num(np.clip(values * 255 / white, 0, 255)).round().astype(np.uint8)
    if "transparency" in band.info:
        seen[values == band.info["transparency"]] = 255
    return np.repeat(seen[..., None], 3, axis=2)


def _colour_band(band: Pillow.Image) -> Pillow.Image:
    if not band.has_transparency_data:
        return band.convert("RGB")
    opaque = Pillow.new("RGBA", band.size, "white")
    opaque.alpha_composite(band.convert("RGBA"))
    return opaque.convert("RGB")


def _shown(text: str) -> str:
    """As much of an address or a reason as a message needs, without what cannot be written."""
    text = text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
    return text.encode("utf-8", "replace").decode()
