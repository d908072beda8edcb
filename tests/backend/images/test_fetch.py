"""Images are fetched from where they lie, kept, and asked for where nobody is led astray."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from backend.errors import ImageError, ImageUnavailableError, LabelStudioError
from backend.images.fetch import MAX_AGE_S, ImageStore
from backend.settings import Settings
from tests.backend.conftest import image_files
from tests.backend.images.support import encoded, store


@pytest.fixture
def plain_settings(files: tuple[str, Path]) -> Settings:
    return Settings(label_studio_url=files[0], image_max_bytes=5000, image_cache_bytes=4000)


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
    ("file:///etc/passwd", "not http or https"),
    ("ftp://host/a.png", "not http or https"),
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


def test_a_file_that_is_replaced_is_read_again(local: tuple[ImageStore, Path]) -> None:
    images, folder = local
    address, file = "/data/local-files/?d=demo/a.png", folder / "images" / "demo" / "a.png"
    before = images.open(address, task_id=1)
    assert images.open(address, task_id=1).key == before.key
    Pillow.new("RGB", (8, 9)).save(file)
    after = images.open(address, task_id=1)
    assert after.size_wh == (8, 9) and after.key != before.key
    assert images.load(address, task_id=1).size_wh == (8, 9)


def test_an_image_of_a_server_that_is_replaced_is_fetched_again_after_a_while(
    plain_settings: Settings, files: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (files[1] / "a.png").write_bytes(encoded())
    images = store(plain_settings)
    before = images.open("/a.png", task_id=1)
    Pillow.new("RGB", (8, 9)).save(files[1] / "a.png")
    assert images.open("/a.png", task_id=1).key == before.key
    now = time.monotonic()
    monkeypatch.setattr("backend.images.fetch.time.monotonic", lambda: now + MAX_AGE_S)
    assert images.open("/a.png", task_id=1).size_wh == (8, 9)


@pytest.mark.parametrize("keeps_pixels", [True, False])
@pytest.mark.parametrize("of_label_studio", [True, False])
def test_a_known_image_stays_in_use_while_its_server_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, of_label_studio: bool, keeps_pixels: bool
) -> None:
    (tmp_path / "a.png").write_bytes(encoded())
    with image_files(tmp_path) as url:
        images = store(
            Settings(
                label_studio_url=url if of_label_studio else "http://127.0.0.1:1",
                image_hosts="127.0.0.1",
                image_hosts_private=True,
                image_cache_bytes=4000 if keeps_pixels else 0,
            )
        )
        before = images.open(f"{url}/a.png", task_id=1)
    now = time.monotonic()
    monkeypatch.setattr("backend.images.fetch.time.monotonic", lambda: now + MAX_AGE_S)
    after = images.open(f"{url}/a.png", task_id=1)
    assert (after.key, after.size_wh) == (before.key, before.size_wh)
    if keeps_pixels:
        assert np.array_equal(after.pixels, before.pixels)
    with pytest.raises((ImageUnavailableError, LabelStudioError)):
        images.open(f"{url}/other.png", task_id=1)


def test_the_public_address_is_asked_for_at_the_internal_one(files: tuple[str, Path]) -> None:
    """As behind a proxy, where Label Studio writes its public address into the tasks of a storage."""
    url, folder = files
    (folder / "public.png").write_bytes(encoded())
    settings = Settings(label_studio_url=url, label_studio_public_url="https://label.example.com/")
    assert store(settings).load("https://Label.example.com/public.png?x=1", task_id=1).size_wh == (30, 20)
    for other in ("http://label.example.com/public.png", "https://label.example.com:8443/public.png"):
        with pytest.raises(ImageError, match="IMAGE_HOSTS does not list"):
            store(settings).load(other, task_id=1)


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
        "%2e%2e/private/a.png",
        "%252e%252e/private/a.png",
        "demo/a.png%00",
        "demo/%00/../../private/a.png",
        "..%5cprivate%5ca.png",
        "",
        "link",
    ],
)
def test_no_file_outside_is_read(local: tuple[ImageStore, Path], path: str) -> None:
    if path == "%2Fetc%2Fhostname":
        path = str(local[1] / "private" / "a.png")
    # Label Studio is asked instead, and has none.
    with pytest.raises(ImageError, match="404"):
        local[0].load(f"/data/local-files/?d={path}", task_id=1)


def test_only_label_studios_own_address_means_a_local_file(local: tuple[ImageStore, Path]) -> None:
    with pytest.raises(ImageError, match="IMAGE_HOSTS"):
        local[0].load("http://elsewhere.example/data/local-files/?d=demo/a.png", task_id=1)


@pytest.mark.parametrize("status", [401, 403])
def test_an_image_that_label_studio_refuses_is_that_images_fault(status: int) -> None:
    """Label Studio answers so where a storage's credentials have ended; a `LabelStudioError` would end a whole job."""
    with answering({"/data/upload/a.png": status, "/data/upload/b.png": encoded()}) as (url, _):
        images = store(Settings(label_studio_url=url))
        with pytest.raises(ImageError, match=rf"refused to serve the image '/data/upload/a\.png' \({status}\)"):
            images.load("/data/upload/a.png", task_id=1)
        assert images.load("/data/upload/b.png", task_id=2).size_wh == (30, 20)


@contextmanager
def answering(answers: dict[str, str | bytes | int]) -> Iterator[tuple[str, dict[str, str | None]]]:
    """A server that redirects, answers with a file, or refuses, by the path without its query.

    Its address, and the credentials that came for each path.
    """
    seen: dict[str, str | None] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            seen[path] = self.headers["Authorization"]
            answer = answers.get(path, b"")
            self.send_response(answer if isinstance(answer, int) else 302 if isinstance(answer, str) else 200)
            self.send_header("Location", answer if isinstance(answer, str) else "")
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, str | None]]]:
    with answering({"/a.png": encoded()}) as server:
        yield server


def test_a_bucket_that_label_studio_signs_for_sees_no_credentials(bucket: tuple[str, dict[str, str | None]]) -> None:
    with answering({"/tasks/7/presign/": f"{bucket[0]}/a.png?signature=x"}) as (studio, seen):
        settings = Settings(label_studio_url=studio, image_hosts_private=True)
        images = ImageStore(settings, bearer=lambda: "Token x")
        assert images.load("s3://bucket/a.png", task_id=7).size_wh == (30, 20)
        assert (seen, bucket[1]) == ({"/tasks/7/presign/": "Token x"}, {"/a.png": None})
        # In a private network it is not asked at all, unless that is allowed.
        bucket[1].clear()
        strict = ImageStore(Settings(label_studio_url=studio), bearer=lambda: "Token x")
        with pytest.raises(ImageError, match="is not public"):
            strict.load("s3://bucket/a.png", task_id=7)
        assert bucket[1] == {}


# what a task names, and where Label Studio then sends to
LEADING_AWAY = [
    ("/a.png", "/a.png"),
    ("/user/login/?next=/presign/", "/user/login/"),
    ("/tasks/7/presign/../../../user/login/", "/user/login/"),
    ("/presign/a.png", "/presign/a.png"),
]


@pytest.mark.parametrize(("named", "path"), LEADING_AWAY)
def test_no_other_redirect_of_label_studio_is_believed(
    bucket: tuple[str, dict[str, str | None]], named: str, path: str
) -> None:
    with answering({path: f"{bucket[0]}/a.png"}) as (studio, seen):
        settings = Settings(label_studio_url=studio, image_hosts_private=True)
        with pytest.raises(ImageError, match="IMAGE_HOSTS does not list"):
            ImageStore(settings, bearer=lambda: "Token x").load(named, task_id=7)
        assert (list(seen), bucket[1]) == ([path], {})


# What readers of addresses have disagreed on: none of these is Label Studio.
ALMOST = [
    "http://{studio}@elsewhere.invalid/a.png",
    "http://{studio}\\@elsewhere.invalid/a.png",
    "http://elsewhere.invalid\\@{studio}/a.png",
    "http://user@{studio}/a.png",
    "http://0{studio}/a.png",
    " http://{studio}@elsewhere.invalid/a.png",
    "http:elsewhere.invalid/a.png",
    "http:///elsewhere.invalid/a.png",
    "https://{studio}/a.png",
    "gopher://{studio}/a.png",
    "FILE:/etc/hostname",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("address", ALMOST)
def test_addresses_that_only_look_like_label_studios_get_nothing(address: str) -> None:
    def bearer() -> str:
        raise AssertionError("The credentials were asked for.")

    with answering({}) as (studio, seen):
        images = ImageStore(Settings(label_studio_url=studio), bearer=bearer)
        with pytest.raises(ImageError):
            images.load(address.format(studio=studio.removeprefix("http://")), task_id=1)
        assert seen == {}


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def test_an_image_in_the_address_is_read_without_asking_anybody(plain_settings: Settings) -> None:
    images, url = (
        store(plain_settings.model_copy(update={"label_studio_url": "http://127.0.0.1:9"})),
        data_url(encoded()),
    )
    image = images.load(url, task_id=1)
    assert image.pixels[0, 0].tolist() == [10, 200, 10]
    assert image.source == "data:image/png;base64,…"
    assert images.load(url, task_id=2) is image
    known = images.open(url, task_id=3)
    assert (known.key, known.size_wh) == (image.key, (30, 20))
    assert len(known.source) < 200
    # Another one is not taken for it.
    assert images.open(data_url(encoded(size_wh=(9, 8))), task_id=3).size_wh == (9, 8)
    assert images.load_reduced(url, task_id=1, side_px=15).size_wh == (15, 10)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no image", "not an image"), (bytes(6000), "larger than 5,000 bytes"), (encoded(size_wh=(2000, 10)), "pixels")],
)
def test_an_image_in_the_address_is_held_to_the_limits(plain_settings: Settings, content: bytes, said: str) -> None:
    images = store(plain_settings.model_copy(update={"image_max_pixels": 10_000}))
    with pytest.raises(ImageError, match=said) as refused:
        images.load(data_url(content), task_id=1)
    assert len(str(refused.value)) < 200
