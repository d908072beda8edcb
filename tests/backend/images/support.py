"""Small pictures as files, and a store that fetches images."""

from __future__ import annotations

import io

from PIL import Image as Pillow

from backend.images.fetch import ImageStore
from backend.settings import Settings

ORIENTATION = 0x0112


def encoded(kind: str = "PNG", *, size_wh: tuple[int, int] = (30, 20), orientation: int | None = None) -> bytes:
    picture = Pillow.new("RGB", size_wh, (200, 10, 10))
    picture.putpixel((0, 0), (10, 200, 10))
    exif = Pillow.Exif()
    if orientation:
        exif[ORIENTATION] = orientation
    file = io.BytesIO()
    picture.save(file, kind, exif=exif)
    return file.getvalue()


def store(settings: Settings) -> ImageStore:
    return ImageStore(settings, bearer=lambda: "Bearer x")
