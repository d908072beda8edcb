"""An annotator at Label Studio's page: drives Chromium through what a person would do, and keeps screenshots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, FloatRect, Page, Response, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 60_000
DRAG_STEPS = 10
SMART_TOOL = "button.lsf-tool_smart"
ACCEPT, REJECT = ".lsf-auto-accept__action_type_accept", ".lsf-auto-accept__action_type_reject"
SUBMIT = '[aria-label="Submit current annotation"]'
UPDATE = 'button[aria-label="submit"]:has-text("Update")'


@dataclass
class Annotator:
    """One browser page, logged in; `screenshots` receives a numbered PNG a step."""

    page: Page
    url: str
    screenshots: Path
    taken: int = 0
    switched: bool = False

    def log_in(self, email: str, password: str) -> None:
        self.page.goto(f"{self.url}/user/login/")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/user/login" not in url)

    def open_task(self, project_id: int, task_id: int) -> None:
        self.page.goto(f"{self.url}/projects/{project_id}/data?task={task_id}")
        self.page.locator("canvas").first.wait_for()
        # The switch is remembered from task to task: it is turned only where no smart tool comes by itself, and once.
        if not self.switched:
            try:
                self.page.locator(SMART_TOOL).first.wait_for(timeout=4000)
            except PlaywrightTimeout:
                self.page.get_by_text("Auto-Annotation", exact=True).first.click()
            self.switched = True
        self.page.locator(SMART_TOOL).first.wait_for()

    def start_blank(self) -> None:
        """A new, empty annotation beside the one that the prediction began."""
        self.page.get_by_label("Create an annotation").click()
        self.page.wait_for_timeout(500)

    def take_click_tool(self, hot_key: str) -> None:
        """Chooses the smart key point, then the label: the other way round Label Studio drops the label."""
        self._take("key-point-tool", hot_key)

    def take_box_tool(self, hot_key: str) -> None:
        """Chooses the smart rectangle, then the label."""
        self._take("rectangle-tool", hot_key)

    def _take(self, tool: str, hot_key: str) -> None:
        # One button stands for all smart tools, and shows them while the mouse is over it.
        self.page.locator(SMART_TOOL).first.hover()
        self.page.locator(f'{SMART_TOOL}[aria-label="{tool}"]').click()
        self.page.keyboard.press(hot_key)

    def drag(self, from_unit: tuple[float, float], to_unit: tuple[float, float]) -> list[dict[str, Any]]:
        """Draws a box between two places, each a share of the image's width and height; the regions that came back."""
        box = self._image()
        (x0, y0), (x1, y1) = [
            (box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (from_unit, to_unit)
        ]
        with self.page.expect_response(lambda response: "interactive-annotating" in response.url) as answered:
            self.page.mouse.move(x0, y0)
            self.page.mouse.down()
            for step in range(1, DRAG_STEPS + 1):
                share = step / DRAG_STEPS
                self.page.mouse.move(x0 + share * (x1 - x0), y0 + share * (y1 - y0))
                # As a hand moves: Label Studio drops a drag that is over at once.
                self.page.wait_for_timeout(30)
            self.page.mouse.up()
        return self._drawn(answered.value)

    def _image(self) -> FloatRect:
        """Where the image is on the page: of the canvases, the first is as large as the image."""
        box = self.page.locator("canvas").first.bounding_box()
        assert box is not None
        return box

    def click(
        self, x_unit: float, y_unit: float, *, positive: bool = True, on_region: bool = False
    ) -> list[dict[str, Any]]:
        """Clicks the image at a share of its width and height; the regions that came back.

        Args:
            positive: else with Alt, for 'not this'.
            on_region: with Ctrl, as Label Studio wants it on a region that is shown.
        """
        box = self._image()
        x, y = box["x"] + x_unit * box["width"], box["y"] + y_unit * box["height"]
        held = [*(["Control"] if on_region else []), *([] if positive else ["Alt"])]
        with self.page.expect_response(lambda response: "interactive-annotating" in response.url) as answered:
            for key in held:
                self.page.keyboard.down(key)
            self.page.mouse.click(x, y)
            for key in held:
                self.page.keyboard.up(key)
        return self._drawn(answered.value)

    def _drawn(self, answer: Response) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        # What came is drawn a moment later.
        self.page.wait_for_timeout(500)
        return result

    def write_words(self, words: str) -> list[dict[str, Any]]:
        """Asks by words, as an annotator does: types them, then Enter; the regions that came back."""
        field = self.page.get_by_placeholder("find by words")
        field.fill(words)
        with self.page.expect_response(lambda response: "interactive-annotating" in response.url) as answered:
            field.press("Enter")
        return self._drawn(answered.value)

    def accept(self) -> None:
        self.page.locator(ACCEPT).first.click()
        self.page.locator(ACCEPT).first.wait_for(state="detached")

    def reject(self) -> None:
        self.page.locator(REJECT).first.click()
        self.page.locator(REJECT).first.wait_for(state="detached")

    def undo(self) -> None:
        self.page.keyboard.press("Control+z")
        self.page.wait_for_timeout(500)

    def submit(self) -> None:
        self._store(SUBMIT, "POST", status=201)

    def update(self) -> None:
        """Submits what was changed of an annotation that was submitted before."""
        self._store(UPDATE, "PATCH", status=200)

    def _store(self, button: str, method: str, *, status: int) -> None:
        with self.page.expect_response(
            lambda response: response.request.method == method and "/annotations" in response.url
        ) as stored:
            self.page.locator(button).first.click()
        assert stored.value.status == status

    def switch_auto_accept(self) -> None:
        self.page.get_by_text("Auto-Accept Suggestions", exact=True).first.click()

    def screenshot(self, name: str) -> Path:
        self.taken += 1
        path = self.screenshots / f"{self.taken:02d}-{name}.png"
        self.page.screenshot(path=path)
        return path


@contextmanager
def running_browser(chromium: str, *flags: str) -> Iterator[Browser]:
    """A headless Chromium with further flags, for as long as the block lasts."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*CHROMIUM_FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def fresh_page(browser: Browser, *, any_certificate: bool = False) -> Iterator[Page]:
    """A page of a profile of its own; it trusts the system's certificates, or `any_certificate`."""
    with browser.new_context(viewport={"width": 1500, "height": 1000}, ignore_https_errors=any_certificate) as profile:
        page = profile.new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page


@contextmanager
def browser_page(chromium: str, *, any_certificate: bool = False) -> Iterator[Page]:
    """A page of a Chromium that runs as long as the block lasts."""
    with running_browser(chromium) as browser, fresh_page(browser, any_certificate=any_certificate) as page:
        yield page
