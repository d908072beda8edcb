"""The status page as people have it open: alive, by keyboard, on a phone, in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from backend.registry.registry import Version
from backend.registry.verdict import Verdict, write_verdict
from tests.backend.conftest import PASSWORD, USER, Served
from tests.backend.page.test_render import SURVEY
from tests.conftest import ARTEFACTS
from tests.e2e.annotator import fresh_page, running_browser

pytestmark = [pytest.mark.services, pytest.mark.browser]
# Playwright's own five seconds are little beside what else a test machine does.
expect.set_options(timeout=30_000)

SHOTS = ARTEFACTS / "screenshots" / "status_page"
# As long as the page waits before it asks again, by its own clock.
POLL_MS = 3000
WIDTHS_PX = {"desk": 1280, "tablet": 768, "phone": 360}


@pytest.fixture
def versions(backend: Served, starter: Path) -> list[Version]:
    """Two judged versions of project 7, of which the second works; its survey is there, too."""
    registry, made = backend.service.connections.registry, list[Version]()
    for gain in (0.31, 0.42):
        version = registry.add(
            7,
            weights=starter,
            classes=("saree",),
            parent=made[-1].name if made else None,
            metrics={},
            annotations={},
            image_size_px=256,
            origin="training",
        )
        reason = f"Mask mAP50-95 of {gain:.3f} on 40 held-out images, more than what answered before."
        write_verdict(version, Verdict(True, reason, 40, challenger_map=gain))
        made.append(version)
    registry.promote(7, made[-1].name)
    backend.service.project_status.surveys.remember(7, SURVEY)
    return made


@pytest.fixture
def address(backend: Served) -> str:
    """The page's, with the credentials in it."""
    return f"http://{USER}:{PASSWORD}@{urlsplit(str(backend.client.base_url)).netloc}/"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with running_browser(chromium) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with fresh_page(browser) as page:
        yield page


def open_page(page: Page, address: str) -> list[str]:
    """Opens it; what goes wrong in the browser is added to the list."""
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return wrong


def test_it_lives(backend: Served, versions: list[Version], address: str, page: Page) -> None:
    page.clock.install()
    wrong = open_page(page, address)
    page.evaluate("window.sameDocument = true")
    page.get_by_text("Queues and workers").click()
    promote = page.get_by_role("button", name="Promote v1")
    promote.focus()
    backend.service.project_status.surveys.remember(7, replace(SURVEY, approved=2141, new=32))
    page.clock.fast_forward(POLL_MS)
    expect(page.get_by_text("32 of 50 new labels")).to_be_visible(timeout=15_000)
    expect(page.get_by_text("2,141")).to_be_visible()
    # Nobody who reads or types is disturbed by it.
    assert page.evaluate("window.sameDocument")
    expect(promote).to_be_focused()
    expect(page.locator("details#queues")).to_have_attribute("open", "")
    assert not wrong


def test_by_keyboard_alone(backend: Served, versions: list[Version], address: str, page: Page) -> None:
    wrong = open_page(page, address)
    messages: list[str] = []

    def accept(dialog: Dialog) -> None:
        messages.append(dialog.message)
        dialog.accept()

    page.on("dialog", accept)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "Promote v1":
            break
    page.screenshot(path=str(shot("focused")))
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").get_by_text("now uses another model")).to_be_visible()
    current = backend.service.connections.registry.champion(7)
    assert current is not None and current.name == versions[0].name
    assert messages and "Promote v1?" in messages[0]
    expect(page.locator("tr.current")).to_contain_text("in use")
    assert not wrong


def test_a_question_that_is_denied_changes_nothing(
    backend: Served, versions: list[Version], address: str, page: Page
) -> None:
    open_page(page, address)
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Promote v1").click()
    page.wait_for_timeout(500)
    current = backend.service.connections.registry.champion(7)
    assert current is not None and current.name == versions[1].name


def test_a_lost_connection_is_said_and_comes_back(
    backend: Served, versions: list[Version], address: str, page: Page
) -> None:
    page.clock.install()
    open_page(page, address)
    page.context.set_offline(True)
    page.clock.fast_forward(POLL_MS)
    expect(page.locator("#connection")).to_contain_text("Connection lost", timeout=15_000)
    page.context.set_offline(False)
    page.clock.fast_forward(POLL_MS)
    expect(page.locator("#connection")).to_be_empty(timeout=15_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS_PX)
def test_it_fits(versions: list[Version], address: str, page: Page, width: str, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": WIDTHS_PX[width], "height": 900})
    wrong = open_page(page, address)
    page.screenshot(path=str(shot(f"{width}-{scheme}")), full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS_PX[width]
    assert contrasts(page) >= 4.5
    assert not wrong


def contrasts(page: Page) -> float:
    """The least contrast of text to what is behind it, as WCAG 2 reckons it; 4.5 is what it asks of small text."""
    least: float = page.evaluate("""() => {
      const channels = (css) => (css.match(/[\\d.]+/g) || []).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const behind = (e) => {
        for (; e; e = e.parentElement) {
          const c = channels(getComputedStyle(e).backgroundColor);
          if (getComputedStyle(e).backgroundColor.startsWith("rgb") && (c.length === 3 || c[3] === 1)) return c;
        }
        return [255, 255, 255];
      };
      let least = 21;
      for (const e of document.querySelectorAll("main *, header *, footer")) {
        if (e.closest("svg") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
        const [a, b] = [light(channels(getComputedStyle(e).color)), light(behind(e))];
        least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
      }
      return least;
    }""")
    return least


def shot(name: str) -> Path:
    """Where a screenshot is kept."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS / f"{name}.png"
