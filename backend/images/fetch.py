"""Fetches a task's image with Label Studio's credentials, within limits, decodes it, and caches it in memory."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import httpx

from backend.domain import Image, Photo, Pixels
from backend.errors import ImageError, ImageUnavailableError, LabelStudioUnavailableError
from backend.images.decode import decode_image, shorten
from backend.images.pinned_host import PinnedUrl, pin_host
from backend.images.same_server import is_same_server
from backend.label_studio.data_url import describe, is_data_url, read_data_url, short_name
from backend.label_studio.payloads import LOCAL_FILES
from backend.settings import Settings

logger = logging.getLogger(__name__)

CLOUD_SCHEMES = frozenset({"s3", "gs", "azure-blob"})
MAX_REDIRECTS = 3
# The path at which Label Studio redirects to an address that it has signed; its other redirects are not trusted.
PRESIGN_PATH = re.compile(r"/(tasks|projects)/\d+/presign/$")
MAX_KNOWN_IMAGES = 100_000
# The image at an address of another server may be replaced: after this long it is fetched again. While that server
# does not answer, the image that is known stays in use.
MAX_AGE_S = 600.0
UNAVAILABLE = (LabelStudioUnavailableError, ImageUnavailableError)


@dataclass(frozen=True)
class StoredImage:
    """An image that was read before: its key and size, and a function that reads its pixels again. See `Photo`."""

    key: str
    source: str
    size_wh: tuple[int, int]
    read: Callable[[], Pixels]

    @property
    def pixels(self) -> Pixels:
        """`uint8 (H, W, 3)`, RGB, upright; fetched and decoded again if they are no longer cached."""
        return self.read()


class ImageStore:
    """Loads images, and caches the most recently used ones decoded, up to `image_cache_bytes`."""

    def __init__(self, settings: Settings, *, bearer: Callable[[], str]) -> None:
        """`bearer` returns the `Authorization` header for Label Studio; no other host ever receives it."""
        self._settings = settings
        self._bearer = bearer
        self._client = httpx.Client(timeout=settings.label_studio_timeout_s)
        # Without the environment's proxies: they would be asked for an IP address, not for the host that was checked.
        self._pinned_client = httpx.Client(timeout=settings.label_studio_timeout_s, transport=httpx.HTTPTransport())
        # Address → what changes when another image may be there, see `_stamp`, and the image.
        self._cache: OrderedDict[str, tuple[object, Image]] = OrderedDict()
        self._cached_bytes = 0
        # Address → stamp, key and size of an image, also of those whose pixels are no longer cached.
        self._known: OrderedDict[str, tuple[object, str, tuple[int, int]]] = OrderedDict()
        self._lock = threading.Lock()
        self._large_image_lock = threading.Lock()

    def open(self, url: str, *, task_id: int) -> Photo:
        """The image at `url`; if it was read before, it is fetched and decoded only when its pixels are used.

        Raises:
            ImageError, LabelStudioError: as `load`, for an image that was not read before.
        """
        stamp, name = self._stamp(url, task_id), short_name(url)
        with self._lock:
            known_stamp, key, size_wh = self._known.get(name, (None, "", (0, 0)))
        if known_stamp != stamp:
            try:
                return self.load(url, task_id=task_id)
            except UNAVAILABLE as e:
                if known_stamp is None:
                    raise
                logger.warning("%s The image is used as it was known before", e)
                # Not fetched again right away: each attempt at a server that hangs takes the whole timeout.
                with self._lock:
                    self._known[name] = stamp, key, size_wh
        return StoredImage(key, name, size_wh, lambda: self.load(url, task_id=task_id).pixels)

    def load(self, url: str, *, task_id: int) -> Image:
        """The decoded image at `url`, as the task names it; a cached image needs no network.

        Raises:
            ImageError: it is missing, refused, over a limit, or not an image.
            LabelStudioError: Label Studio, which serves it, is unreachable or refuses the credentials.
        """
        stamp, name = self._stamp(url, task_id), short_name(url)
        with self._lock:
            cached_stamp, cached = self._cache.get(name, (None, None))
            if cached is not None and cached_stamp == stamp:
                self._cache.move_to_end(name)
                return cached
        try:
            image = self._fetch_and_decode(url, task_id)
        except UNAVAILABLE:
            if cached is None:
                raise
            image = cached
        self._cache_image(name, stamp, image)
        return image

    def load_reduced(self, url: str, *, task_id: int, side_px: int) -> Image:
        """The decoded image, reduced to a detector's size; it is not cached, as nobody asks for it again.

        Args:
            side_px: the largest length of its longer side, see `decode_image`.

        Raises:
            ImageError, LabelStudioError: as `load`.
        """
        return self._fetch_and_decode(url, task_id, side_px)

    def _stamp(self, url: str, task_id: int) -> object:
        """Changes when another image may be at the address: a local file's time and size, else the time."""
        if is_data_url(url):
            return "never"
        try:
            file = self._local_file(self._address(url, task_id, source=shorten(url)))
            if file is not None:
                status = file.stat()
                return status.st_mtime_ns, status.st_size
        except (OSError, ValueError, httpx.InvalidURL):
            # Whoever reads the image explains what is wrong with it.
            pass
        # Each address has its own moment, so that not all images are fetched again at once.
        return int(time.monotonic() / MAX_AGE_S + hash(url) % 1000 / 1000)

    def _fetch_and_decode(self, url: str, task_id: int, side_px: int | None = None) -> Image:
        source = shorten(describe(url) if is_data_url(url) else url)
        return decode_image(
            self._read(url, task_id, source=source),
            source=source,
            max_pixels=self._settings.image_max_pixels,
            side_px=side_px,
            large_image_lock=self._large_image_lock,
        )

    def _read(self, url: str, task_id: int, *, source: str) -> bytes:
        if is_data_url(url):
            return read_data_url(url, max_bytes=self._settings.image_max_bytes)
        try:
            address = self._address(url, task_id, source=source)
            file = self._local_file(address)
            return self._read_file(file, source=source) if file else self._fetch(address, source=source)
        except (ValueError, httpx.InvalidURL) as e:
            raise ImageError(f"The image '{source}' has an invalid address.") from e

    def _local_file(self, address: str) -> Path | None:
        """The file that Label Studio would serve, if this machine has it below LOCAL_FILES_ROOT; else None.

        The file must lie in that folder, or in a folder that a link directly in it points to: `drape up` links the
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

    def _cache_image(self, name: str, stamp: object, image: Image) -> None:
        with self._lock:
            _, previous = self._cache.pop(name, (None, None))
            self._cached_bytes += image.pixels.nbytes - (previous.pixels.nbytes if previous else 0)
            self._cache[name] = stamp, image
            self._known[name] = stamp, image.key, image.size_wh
            while len(self._known) > MAX_KNOWN_IMAGES:
                self._known.popitem(last=False)
            while self._cached_bytes > self._settings.image_cache_bytes and self._cache:
                _, (_, dropped) = self._cache.popitem(last=False)
                self._cached_bytes -= dropped.pixels.nbytes

    def _address(self, url: str, task_id: int, *, source: str) -> str:
        base = self._settings.label_studio_url.rstrip("/") + "/"
        scheme = urlsplit(url).scheme.lower()
        if scheme in CLOUD_SCHEMES:
            # Only Label Studio has the bucket's credentials: it redirects to a signed address.
            return urljoin(base, f"tasks/{task_id}/presign/?fileuri={quote(url, safe='')}")
        if scheme and scheme not in {"http", "https"}:
            raise ImageError(f"The image '{source}' has an address that is not http or https.")
        if _same_origin(url, self._settings.label_studio_public_url):
            # Label Studio writes its public address into the tasks of a storage; behind a proxy that is not reachable.
            return urljoin(base, urlsplit(url)._replace(scheme="", netloc="").geturl().lstrip("/"))
        return self._by_configured_name(url) if scheme else urljoin(base, url.lstrip("/"))

    def _by_configured_name(self, address: str) -> str:
        """The address, with the host of LABEL_STUDIO_URL if it names Label Studio by another name.

        So the credentials go to that host alone, whatever a name server says.
        """
        label_studio, parts = self._settings.label_studio_url, urlsplit(address)
        # A host that is listed is fetched from as it is: no name is looked up for it here.
        listed = (parts.hostname or "").lower() in self._settings.allowed_image_hosts
        if self._is_label_studio(address) or listed or not is_same_server(address, label_studio):
            return address
        return parts._replace(netloc=urlsplit(label_studio).netloc).geturl()

    def _is_label_studio(self, address: str) -> bool:
        return _same_origin(address, self._settings.label_studio_url)

    def _fetch(self, address: str, *, source: str) -> bytes:
        signed = False
        deadline = time.monotonic() + self._settings.image_timeout_s
        for _ in range(MAX_REDIRECTS + 1):
            trusted = self._is_label_studio(address)
            host = (urlsplit(address).hostname or "").lower()
            # An address that Label Studio itself signed for a bucket is trusted like its own.
            if not (trusted or signed or host in self._settings.allowed_image_hosts):
                raise ImageError(
                    f"The image '{source}' is at {shorten(host)}, which IMAGE_HOSTS does not list."
                    f"{_if_label_studio(address)}"
                )
            signed = trusted and PRESIGN_PATH.search(httpx.URL(address).path) is not None
            # No compression in transit: a few bytes could unpack to gigabytes.
            headers = {"Accept-Encoding": "identity", **({"Authorization": self._bearer()} if trusted else {})}
            redirect, body = self._get(address, headers, deadline, source=source, from_label_studio=trusted)
            if redirect is None:
                return body
            address = urljoin(address, redirect)
            # A signed address is that of a bucket, whatever else is behind its proxy.
            address = address if signed else self._by_configured_name(address)
        raise ImageError(f"The image '{source}' was redirected too often.")

    def _get(
        self, address: str, headers: dict[str, str], deadline: float, *, source: str, from_label_studio: bool
    ) -> tuple[str | None, bytes]:
        """Sends one request; returns the address of a redirect, or None and the body."""
        limit = self._settings.image_max_bytes
        try:
            # The operator configured Label Studio's host, so it is trusted; the IP address of any other is checked.
            target = (
                PinnedUrl(httpx.URL(address))
                if from_label_studio
                else pin_host(address, private=self._settings.image_hosts_private, source=source)
            )
            client = self._client if from_label_studio else self._pinned_client
            request = client.stream(
                "GET", target.url, headers=headers | target.headers, extensions=dict(target.extensions)
            )
            with request as response:
                if response.is_redirect:
                    return response.headers.get("Location", ""), b""
                if response.status_code in (401, 403) and from_label_studio:
                    # Not about the key: Label Studio answers so for one image, too, while it takes the key elsewhere.
                    raise ImageError(
                        f"Label Studio refused to serve the image '{source}' ({response.status_code}): see whether the "
                        "account of LABEL_STUDIO_API_KEY may open it, and what Label Studio's storage says."
                    )
                if response.status_code >= 500 and from_label_studio:
                    raise ImageError(f"Label Studio could not serve the image '{source}' ({response.status_code}).")
                if response.is_error:
                    raise ImageError(
                        f"The image '{source}' could not be fetched: the server answered {response.status_code}."
                    )
                body = bytearray()
                for part in response.iter_raw():
                    body += part
                    if time.monotonic() > deadline:
                        # httpx limits only the time of each part: a slow server could go on sending parts without end.
                        raise ImageError(
                            f"The image '{source}' took longer than {self._settings.image_timeout_s:g} s "
                            "(IMAGE_TIMEOUT_S)."
                        )
                    if len(body) > limit:
                        raise ImageError(f"The image '{source}' is larger than {limit:,} bytes (IMAGE_MAX_BYTES).")
                return None, bytes(body)
        except httpx.HTTPError as e:
            if from_label_studio:
                raise LabelStudioUnavailableError(
                    f"Label Studio does not answer at {self._settings.label_studio_url}."
                ) from e
            raise ImageUnavailableError(f"The image '{source}' cannot be fetched: {type(e).__name__}.") from e


def _if_label_studio(address: str) -> str:
    """What to set if an address that is refused is Label Studio's own, which its path says; else nothing."""
    parts = urlsplit(address)
    if not parts.path.startswith(("/data/", "/storage-data/", "/tasks/")):
        return ""
    origin = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return f" If that is Label Studio's address in browsers, set LABEL_STUDIO_PUBLIC_URL={shorten(origin)}."


def _same_origin(url: str, other: str) -> bool:
    first, second = urlsplit(url), urlsplit(other)
    return bool(second.netloc) and (first.scheme, first.netloc.lower()) == (second.scheme, second.netloc.lower())
