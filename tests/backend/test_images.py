from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from backend.errors import ImageError, LabelStudioError
from backend.images import ImageStore, decode_image
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


@pytest.fixture
def plain_settings(files: tuple[str, Path]) -> Settings:
    return Settings(label_studio_url=files[0], image_max_bytes=5000, image_cache_bytes=4000)


def store(settings: Settings) -> ImageStore:
    return ImageStore(settings, bearer=lambda: "Bearer x")


def test_a_cached_image_needs_no_network(plain_settings: Settings, files: tuple[str, Path]) -> None:
    path = files[1] / "a.png"
    path.write_bytes(encoded())
    images = store(plain_settings)
    first = images.load("/a.png", task_id=1)
    path.unlink()
    assert images.load("/a.png", task_id=1) is first


def test_the_cache_is_bounded(plain_settings: Settings, files: tuple[str, Path]) -> None:
    # 1,800 bytes each decoded: two fit, the third sends the first away.
    images = store(plain_settings)
    for name in ("a", "b", "c"):
        (files[1] / f"{name}.png").write_bytes(encoded())
        images.load(f"/{name}.png", task_id=1)
    (files[1] / "a.png").unlink()
    with pytest.raises(ImageError, match="404"):
        images.load("/a.png", task_id=1)
    images.load("/c.png", task_id=1)


# address, what is said
ADDRESSES = [
    ("http://elsewhere.example/a.png", "IMAGE_HOSTS"),
    ("file:///etc/passwd", "web address"),
    ("ftp://host/a.png", "web address"),
    ("/missing.png", "404"),
    ("/large.png", "larger than"),
]


@pytest.mark.parametrize(("address", "said"), ADDRESSES)
def test_addresses_that_are_refused(plain_settings: Settings, files: tuple[str, Path], address: str, said: str) -> None:
    (files[1] / "large.png").write_bytes(b"x" * 6000)
    with pytest.raises(ImageError, match=said):
        store(plain_settings).load(address, task_id=1)


def test_label_studio_away_is_its_own_failure() -> None:
    with pytest.raises(LabelStudioError, match="does not answer"):
        store(Settings(label_studio_url="http://127.0.0.1:1")).load("/a.png", task_id=1)


@pytest.fixture
def local(tmp_path: Path, files: tuple[str, Path]) -> tuple[ImageStore, Path]:
    """A store beside the folder that Label Studio serves, with a link in it as `drape up` makes one."""
    root = tmp_path / "images"
    photographs = tmp_path / "photographs"
    for folder in (root / "demo", photographs, tmp_path / "private"):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(encoded())
    (root / "link").symlink_to(photographs)
    (root / "demo" / "out").symlink_to(tmp_path / "private")
    (root / "file.png").symlink_to(tmp_path / "private" / "a.png")
    (photographs / "out.png").symlink_to(tmp_path / "private" / "a.png")
    return store(Settings(label_studio_url=files[0], local_files_root=root)), tmp_path


@pytest.mark.parametrize("path", ["demo/a.png", "link/a.png", "demo%2Fa.png"])
def test_local_files_are_read_from_disk(local: tuple[ImageStore, Path], path: str) -> None:
    # Nothing serves this address here.
    image = local[0].load_reduced(f"/data/local-files/?d={path}", task_id=1, side_px=640)
    assert image.size_wh == (30, 20)


@pytest.mark.parametrize(
    "path",
    [
        "../private/a.png",
        "demo/../../private/a.png",
        "demo/out/a.png",
        "link/out.png",
        "file.png",
        "%2Fetc%2Fhostname",
        "",
        "link",
    ],
)
def test_no_file_outside_is_read(local: tuple[ImageStore, Path], path: str) -> None:
    if path == "%2Fetc%2Fhostname":
        path = str(local[1] / "private" / "a.png")
    # Label Studio is asked instead, and has none.
    with pytest.raises(ImageError, match="not there"):
        local[0].load(f"/data/local-files/?d={path}", task_id=1)


def test_only_label_studios_own_address_means_a_local_file(local: tuple[ImageStore, Path]) -> None:
    with pytest.raises(ImageError, match="IMAGE_HOSTS"):
        local[0].load("http://elsewhere.example/data/local-files/?d=demo/a.png", task_id=1)
