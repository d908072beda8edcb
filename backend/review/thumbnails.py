"""Photographs as small pictures for the review sheet, kept in memory."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache

import cv2

from backend.images.fetch import MAX_AGE_S, ImageStore

# Sharp enough on a tablet; with its text around it about 60 kB.
SIDE_PX = 640
JPEG_QUALITY = 80
# Of fifty sheets.
MAX_THUMBNAILS = 600


@dataclass(frozen=True)
class Thumbnail:
    """A small picture: its JPEG as a `data:` address, and its size in pixels."""

    address: str
    width: int
    height: int


class Thumbnails:
    """Makes small pictures, and keeps those that were asked for last. Thread-safe."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images
        self._kept = lru_cache(maxsize=MAX_THUMBNAILS)(self._make)

    def get(self, url: str, *, task_id: int) -> Thumbnail:
        """The picture at `url`, its longer side at most `SIDE_PX`.

        Raises:
            ImageError, LabelStudioError: as `ImageStore.load_reduced`.
        """
        # Another photograph may be there later, as for `ImageStore`.
        return self._kept(url, task_id, int(time.monotonic() / MAX_AGE_S))

    def _make(self, url: str, task_id: int, period: int) -> Thumbnail:
        image = self._images.load_reduced(url, task_id=task_id, side_px=SIDE_PX)
        width, height = image.size_wh
        bgr = cv2.cvtColor(image.pixels, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        return Thumbnail(f"data:image/jpeg;base64,{b64encode(encoded.tobytes()).decode()}", width, height)
