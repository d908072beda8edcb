"""The live page as a person uses it: a camera, a video, photographs; by keys, on a phone, and while others go first."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from playwright.sync_api import Browser, Page, Request, Route, expect

from backend.domain import LabelledMask, Pixels
from backend.label_studio.client import LabelStudio
from backend.label_studio.uploads import UPLOAD_URL
from backend.registry.registry import Registry
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS
from tests.backend.conftest import PASSWORD, USER, Served, served, settings_with_label_studio
from tests.backend.page.test_in_chromium import contrasts
from tests.conftest import ARTEFACTS, Studio
from tests.e2e.annotator import PATIENCE_MS, running_browser
from tests.projects import predicted_project
from training.data_out.cutouts import write_cutouts
from training.data_out.garment_images import GarmentImage

pytestmark = [pytest.mark.services, pytest.mark.browser, pytest.mark.timeout(900)]
expect.set_options(timeout=PATIENCE_MS)

SHOTS = ARTEFACTS / "screenshots" / "live"
SEEDS = (700, 703, 705, 708)
SCENE_WH = (640, 480)
FRAMES_A_SECOND = 30
SCREENS = {"wide": (1500, 950), "tablet": (800, 1100), "phone": (390, 800)}
# A name of this machine that browsers do not take for the machine itself.
ELSEWHERE = "drape.test"
FRAME = "**/live/frame*"
# Resolves after so many of the browser's own animation frames.
ANIMATION_FRAMES = """(count) => new Promise((resolve) => {
  const wait = () => { count -= 1; if (count) requestAnimationFrame(wait); else resolve(); };
  wait();
})"""


# Whether both versions' pictures have the same colour where no garment is, while the camera shows several scenes.
SAME_MOMENT = """() => new Promise((resolve) => {
  const canvases = [...document.querySelectorAll("canvas")];
  const corner = (canvas) => canvas.getContext("2d").getImageData(canvas.width / 2, 2, 1, 1).data.join();
  let count = 120;
  const look = () => {
    if (corner(canvases[0]) !== corner(canvases[1])) resolve(false);
    else if (count -= 1) requestAnimationFrame(look);
    else resolve(true);
  };
  look();
})"""


@dataclass(frozen=True)
class Live:
    """The backend with a project of two versions, of which the first is in use."""

    running: Served
    studio: LabelStudio
    number: int
    versions: tuple[str, str]

    @property
    def tasks_url(self) -> str:
        return self.running.service.connections.settings.tasks_url(self.number)


@pytest.fixture(scope="module")
def live(
    label_studio: Studio, redis_server: str, tmp_path_factory: pytest.TempPathFactory, starter: Path
) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("live")
    settings = settings_with_label_studio(
        label_studio, redis_server, folder / "data", device="cpu", segmenter="builtin", sam_weights=""
    )
    files = label_studio.files / folder.name
    files.mkdir()
    made = predicted_project(settings, files, starter, count=2)
    registry = Registry(settings.models_path)
    first = registry.version(made.number, made.version)
    # The same network, which sees smaller pictures: faster, and not as sure.
    second = registry.add(
        made.number,
        weights=starter,
        classes=first.classes,
        parent=first.name,
        metrics={},
        annotations={},
        image_size_px=160,
        origin="training",
    )
    with served(settings) as running:
        yield Live(running, made.studio, made.number, (first.name, second.name))
    made.studio.sdk.projects.delete(made.number)


@pytest.fixture(scope="module")
def scenes() -> list[Pixels]:
    """Drawn people in pictures of one size."""
    return [_in_scene(draw_figure(seed).pixels) for seed in SEEDS]


@pytest.fixture(scope="module")
def browser(chromium: str, scenes: Sequence[Pixels], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium whose camera shows each scene for half a second."""
    camera = tmp_path_factory.mktemp("camera") / "camera.y4m"
    with camera.open("wb") as file:
        width, height = SCENE_WH
        file.write(f"YUV4MPEG2 W{width} H{height} F{FRAMES_A_SECOND}:1 Ip A1:1 C420mpeg2\n".encode())
        for scene in scenes:
            for _ in range(FRAMES_A_SECOND // 2):
                file.write(b"FRAME\n" + cv2.cvtColor(scene, cv2.COLOR_RGB2YUV_I420).tobytes())
    flags = (
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={camera}",
        f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
    )
    with running_browser(chromium, *flags) as browser:
        yield browser


@contextmanager
def live_page(browser: Browser, live: Live, *, host: str = "", **options: Any) -> Iterator[Page]:
    """The page, in a profile of its own that lends it the camera; nothing goes wrong in it while the block lasts."""
    profile = browser.new_context(http_credentials={"username": USER, "password": PASSWORD}, **options)
    profile.grant_permissions(["camera"])
    page, wrong = profile.new_page(), list[str]()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    base = urlsplit(str(live.running.client.base_url))
    try:
        page.goto(f"http://{host or base.hostname}:{base.port}/live?project={live.number}")
        yield page
        assert not wrong
    finally:
        # A page that stayed open would have its frames answered beside those of the next one.
        profile.close()


def test_a_camera_is_seen_by_two_versions_and_no_frame_waits(browser: Browser, live: Live) -> None:
    with live_page(browser, live, viewport={"width": 1500, "height": 950}) as page:
        chosen = [page.locator(f"[data-side={side}] .version").input_value() for side in ("left", "right")]
        assert chosen == list(live.versions)
        asked, held, is_open = list[Request](), list[Route](), Event()
        page.on("request", lambda request: asked.append(request) if "/live/frame" in request.url else None)
        page.route(FRAME, lambda route: route.continue_() if is_open.is_set() else held.append(route))
        page.locator("#camera").click()
        expect(page.locator("#camera")).to_have_attribute("aria-pressed", "true")
        page.evaluate(ANIMATION_FRAMES, 90)
        # However long an answer takes: one frame is under way for each version, the same one.
        assert len(asked) == len(held) == 2
        assert asked[0].post_data_buffer == asked[1].post_data_buffer
        is_open.set()
        for route in held:
            route.continue_()
        for side in ("left", "right"):
            pane = page.locator(f"[data-side={side}]")
            expect(pane.locator(".pace")).to_contain_text("frames a second")
            expect(pane.locator(".pace")).to_contain_text("ms")
            expect(pane.locator(".found")).to_contain_text("0.")
        expect(page.locator("#counts")).to_contain_text("frames answered")
        assert not page.locator("#counts").inner_text().endswith(" 0 dropped")

        assert page.evaluate(SAME_MOMENT)
        page.screenshot(path=shot("camera"))
        # By keys: it stands, goes one on, is saved, and goes on.
        page.keyboard.press("Space")
        expect(page.locator("#freeze")).to_have_text("Go on")
        for side in ("left", "right"):
            expect(page.locator(f"[data-side={side}] .send")).to_be_enabled()
        count = len(asked)
        page.evaluate(ANIMATION_FRAMES, 30)
        assert len(asked) == count
        with page.expect_response(FRAME):
            page.keyboard.press("ArrowRight")
        with page.expect_download() as saving:
            page.keyboard.press("s")
        with Pillow.open(saving.value.path()) as saved:
            assert saved.format == "PNG" and saved.width == 2 * SCENE_WH[0] and saved.height > SCENE_WH[1]
        with page.expect_response(FRAME):
            page.keyboard.press("Space")


def test_a_video_is_stepped_through_cut_out_and_dressed(
    browser: Browser, live: Live, scenes: Sequence[Pixels], tmp_path: Path
) -> None:
    with live_page(browser, live, viewport={"width": 1500, "height": 950}) as page:
        page.locator("[data-side=right] .version").select_option("")
        expect(page.locator("[data-side=right] canvas")).to_be_hidden()
        page.locator("#video-file").set_input_files(_video(scenes, tmp_path))
        expect(page.locator("[data-side=left] .pace")).to_contain_text("frames a second")
        page.keyboard.press("Space")
        expect(page.locator("#freeze")).to_have_text("Go on")
        for key in ("ArrowRight", "ArrowLeft"):
            with page.expect_response(FRAME) as answered:
                page.keyboard.press(key)
            assert answered.value.json()["garments"]
        expect(page.locator("[data-side=left] .send")).to_be_enabled()
        outlined = page.locator("[data-side=left] canvas").screenshot()

        page.locator("#mode").select_option("cut")
        page.screenshot(path=shot("cut-out"))
        transparent = page.evaluate("""() => {
          const canvas = document.querySelector("[data-side=left] canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const clear = data.filter((value, place) => place % 4 === 3 && value === 0);
          return clear.length / (canvas.width * canvas.height);
        }""")
        assert 0.3 < transparent < 1
        page.locator("#mode").select_option("worn")
        page.locator("#garment-file").set_input_files(_cutout(tmp_path))
        expect(page.locator("#garment-name")).to_contain_text(".png")
        page.screenshot(path=shot("laid-over"))
        worn = page.locator("[data-side=left] canvas").screenshot()
        page.locator("#mode").select_option("outlines")
        assert page.locator("[data-side=left] canvas").screenshot() == outlined != worn


def test_a_photograph_becomes_a_task_with_the_prediction(browser: Browser, live: Live, tmp_path: Path) -> None:
    with live_page(browser, live) as page:
        photographs = [tmp_path / f"tried_{seed}.png" for seed in SEEDS[:2]]
        for seed, path in zip(SEEDS, photographs, strict=False):
            Pillow.fromarray(draw_figure(seed).pixels).save(path)
        before = set(live.studio.task_ids(live.number))
        page.locator("#photographs").set_input_files(photographs)
        expect(page.locator("#said")).to_have_text("tried_700.png, 1 of 2")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#said")).to_have_text("tried_703.png, 2 of 2")
        sends = page.locator(".send")
        expect(sends.nth(1)).to_be_enabled()
        assert set(live.studio.task_ids(live.number)) == before
        sends.nth(1).click()
        expect(page.locator("#said")).to_contain_text(f"garments of {live.versions[1]}")
        expect(sends.nth(0)).to_be_disabled()
        (task_id,) = set(live.studio.task_ids(live.number)) - before
        expect(page.locator("#said a")).to_have_attribute("href", f"{live.tasks_url}?task={task_id}")
        page.screenshot(path=shot("sent"))
        (task,) = live.studio.tasks(live.number, [task_id])
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == live.versions[1] and prediction["result"] and 0 < prediction["score"] < 1
        named = UPLOAD_URL.search(task["data"]["image"])
        assert named and named["name"] == "tried_703.png"
        uploaded = live.studio.send("GET", task["data"]["image"])
        assert uploaded.content == photographs[1].read_bytes()


def test_a_photograph_that_is_too_large_is_not_sent_and_says_what_to_do(
    browser: Browser, live: Live, tmp_path: Path
) -> None:
    with live_page(browser, live) as page:
        large = tmp_path / "large.jpg"
        Pillow.fromarray(draw_figure(SEEDS[0]).pixels).save(large)
        # What follows a picture's end is ignored where it is shown.
        os.truncate(large, live.running.service.connections.settings.image_max_bytes + 1)
        before = live.studio.task_ids(live.number)
        page.locator("#photographs").set_input_files(large)
        send = page.locator("[data-side=left] .send")
        expect(send).to_be_enabled()
        send.click()
        expect(page.locator("#said")).to_contain_text("Not stored. large.jpg has 50.0 MB")
        expect(page.locator("#said")).to_contain_text("lower quality")
        expect(send).to_be_enabled()
        assert live.studio.task_ids(live.number) == before


def test_what_is_dropped_is_tried_and_waits_while_others_go_first(browser: Browser, live: Live) -> None:
    with live_page(browser, live) as page:
        refusals = list[Route]()

        def refuse(route: Route) -> None:
            refusals.append(route)
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"detail": "Too many requests at once."})

        page.route(FRAME, refuse)
        _, encoded = cv2.imencode(".jpg", draw_figure(SEEDS[0]).pixels[..., ::-1])
        _drop(page, "dropped.jpg", "image/jpeg", encoded.tobytes())
        expect(page.locator("[data-side=left] .trouble")).to_contain_text("Others go first")
        page.unroute(FRAME)
        expect(page.locator("[data-side=left] .found")).to_contain_text("0.")
        expect(page.locator("[data-side=left] .trouble")).to_be_empty()
        assert refusals
        _drop(page, "notes.txt", "text/plain", b"nothing to see")
        expect(page.locator("#said")).to_have_text("Neither a video nor photographs.")
        _drop(page, "broken.jpg", "image/jpeg", b"nothing to see")
        expect(page.locator("#said")).to_have_text("The browser cannot show broken.jpg as a photograph.")


def test_without_a_secure_address_it_says_why_there_is_no_camera(browser: Browser, live: Live, tmp_path: Path) -> None:
    with live_page(browser, live, host=ELSEWHERE) as page:
        expect(page.locator("#insecure")).to_contain_text("HTTPS")
        expect(page.locator("#camera")).to_be_disabled()
        Pillow.fromarray(draw_figure(SEEDS[0]).pixels).save(tmp_path / "photograph.png")
        page.locator("#photographs").set_input_files(tmp_path / "photograph.png")
        expect(page.locator("[data-side=left] .found")).to_contain_text("0.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_works_by_touch(browser: Browser, live: Live, scheme: str) -> None:
    for name, (width, height) in SCREENS.items():
        with live_page(
            browser, live, viewport={"width": width, "height": height}, has_touch=True, color_scheme=scheme
        ) as page:
            expect(page.locator("#insecure")).to_be_hidden()
            page.locator("#camera").tap()
            expect(page.locator("[data-side=right] .pace")).to_contain_text("frames a second")
            page.locator("#freeze").tap()
            expect(page.locator("[data-side=right] .send")).to_be_enabled()
            page.screenshot(path=shot(f"{name}-{scheme}"))
            page.screenshot(path=shot(f"{name}-{scheme}-whole"), full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert contrasts(page) >= 4.5


def _in_scene(figure: Pixels) -> Pixels:
    """The whole figure on grey, in a picture of `SCENE_WH`."""
    width, height = SCENE_WH
    scale = min(width / figure.shape[1], height / figure.shape[0])
    small = cv2.resize(figure, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    scene = np.full((height, width, 3), 128, np.uint8)
    left = (width - small.shape[1]) // 2
    scene[: small.shape[0], left : left + small.shape[1]] = small
    return scene


def _video(scenes: Sequence[Pixels], folder: Path) -> Path:
    """A video of the scenes in a format that every Chromium plays."""
    path = folder / "scenes.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), FRAMES_A_SECOND, SCENE_WH)
    for scene in scenes:
        for _ in range(FRAMES_A_SECOND):
            writer.write(scene[..., ::-1])
    writer.release()
    return path


def _cutout(folder: Path) -> Path:
    """A garment of a drawn figure, as `drape export --format cutouts` writes it."""
    figure = draw_figure(SEEDS[1])
    garments = tuple(LabelledMask(one.mask, one.label) for one in figure.instances)
    image = GarmentImage(1, "figure", figure.pixels, garments, by_person=True)
    write_cutouts([image], GARMENTS, folder, soft_edges=True)
    return max((folder / "cutouts").rglob("*.png"), key=lambda path: path.stat().st_size)


def _drop(page: Page, name: str, kind: str, content: bytes) -> None:
    """Drops a file onto the page."""
    dropped = page.evaluate_handle(
        """([name, type, content]) => {
          const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], name, { type }));
          return transfer;
        }""",
        [name, kind, base64.b64encode(content).decode()],
    )
    page.dispatch_event("body", "drop", {"dataTransfer": dropped})


def shot(name: str) -> Path:
    """Where a screenshot is kept."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS / f"{name}.png"
