"""Small pictures: their size, and that each is made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as Pillow

from backend.errors import ImageError
from backend.images.fetch import ImageStore
from backend.review.thumbnails import SIDE_PX, Thumbnails
from backend.settings import Settings
from tests.backend.conftest import image_files


def test_they_are_small_and_made_once(tmp_path: Path) -> None:
    Pillow.new("RGB", (1600, 800), "red").save(tmp_path / "large.png")
    Pillow.new("RGB", (30, 40), "red").save(tmp_path / "small.png")
    with image_files(tmp_path) as url:
        thumbnails = Thumbnails(ImageStore(Settings(label_studio_url=url), bearer=lambda: "Token 0"))
        large, small = (thumbnails.get(f"/{name}.png", task_id=1) for name in ("large", "small"))
        assert (large.width, large.height) == (SIDE_PX, SIDE_PX // 2) and (small.width, small.height) == (30, 40)
        # What failed is read again the next time.
        for _ in range(2):
            with pytest.raises(ImageError):
                thumbnails.get("/none.png", task_id=1)
        Pillow.new("RGB", (30, 40), "red").save(tmp_path / "none.png")
        assert thumbnails.get("/none.png", task_id=1).width == 30
        (tmp_path / "large.png").unlink()
        assert thumbnails.get("/large.png", task_id=1) is large
