"""The wardrobe's page as people open it: as a file, by mouse and keys, on a phone, in the dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.backend.page.test_in_chromium import contrasts
from tests.conftest import ARTEFACTS
from tests.e2e.annotator import running_browser
from tests.training.data_out.wardrobe.drawn import (
    HOSTILE,
    TASKS_URL,
    images,
    labels_of,
    small_images,
    write_drawn_wardrobe,
)
from training.data_out.garment_images import GarmentImage

pytestmark = pytest.mark.browser
expect.set_options(timeout=30_000)

SHOTS = ARTEFACTS / "screenshots" / "wardrobe"
WIDTHS_PX = {"desk": 1280, "tablet": 768, "phone": 360}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with running_browser(chromium) as browser:
        yield browser


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[GarmentImage]]:
    """A wardrobe in a folder whose name needs escapes in an address, and what it was written from."""
    folder = tmp_path_factory.mktemp("page") / "my wardrobe #1"
    shown = images()
    write_drawn_wardrobe(folder, shown)
    return folder, shown


@contextmanager
def opened(browser: Browser, folder: Path, address: str = "", **options: object) -> Iterator[Page]:
    """The page, opened as a file. Afterwards nothing went wrong in it, and it asked for nothing but its own files."""
    profile = browser.new_context(**options)  # type: ignore[arg-type]
    page, wrong = profile.new_page(), list[str]()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("requestfailed", lambda request: wrong.append(request.url))
    own = folder.as_uri()
    page.on("request", lambda asked: None if asked.url.startswith((own, "data:")) else wrong.append(asked.url))
    page.goto((folder / "index.html").as_uri() + address)
    page.locator("#list:not([hidden]), #garment:not([hidden])").first.wait_for()
    yield page
    page.wait_for_load_state("networkidle")
    assert not wrong
    profile.close()


def tiles(page: Page) -> Locator:
    """The garments that are shown in the list, as far as it has been made."""
    return page.locator("#tiles .tile")


def chip(page: Page, name: str) -> Locator:
    return page.locator(".chips button").and_(page.locator(f'[data-name="{name}"]'))


def test_filters_find_what_is_there(browser: Browser, written: tuple[Path, list[GarmentImage]]) -> None:
    folder, shown = written
    garments = [(image, garment) for image in shown for garment in image.garments]
    label = garments[0][1].label
    of_label = [one for one in garments if one[1].label == label]
    assert 1 < len(of_label) < len(garments)
    named = [names.split(",") for names in polars.read_parquet(folder / "wardrobe.parquet")["colours"]]
    with opened(browser, folder) as page:
        expect(page.locator("#count")).to_have_text(f"{len(garments)} garments")
        expect(tiles(page)).to_have_count(len(garments))
        expect(page.locator("#labels button")).to_have_count(len(labels_of(shown)))
        chip(page, label).click()
        expect(page.locator("#count")).to_have_text(f"{len(of_label)} of {len(garments)} garments")
        expect(chip(page, label)).to_have_attribute("aria-pressed", "true")
        expect(chip(page, label)).to_contain_text(str(len(of_label)))
        # The filters are in the address: it can be given to somebody else.
        page.reload()
        expect(tiles(page)).to_have_count(len(of_label))
        page.get_by_role("button", name="Show all").click()
        expect(tiles(page)).to_have_count(len(garments))
        assert not page.url.partition("#")[2]

        # Of colours, all that are chosen.
        one, other = next(names for names in named if len(names) > 1)[:2]
        chip(page, one).click()
        expect(tiles(page)).to_have_count(sum(one in names for names in named))
        chip(page, other).click()
        expect(tiles(page)).to_have_count(sum({one, other} <= set(names) for names in named))
        page.get_by_role("button", name="Show all").click()

        page.locator("#photograph").select_option("3_figure")
        expect(tiles(page)).to_have_count(len(shown[2].garments))
        page.locator("#photograph").select_option("")
        page.locator("#search").fill(f" {label.upper()}  3_FIG")
        expect(tiles(page)).to_have_count(sum(one.label == label for one in shown[2].garments))
        page.locator("#search").fill("nothing is called this")
        expect(page.locator("#count")).to_have_text("No garment is like that. Take a filter away.")


def test_a_garment_has_its_page_and_back_leads_to_the_list(
    browser: Browser, written: tuple[Path, list[GarmentImage]]
) -> None:
    folder, shown = written
    label = shown[0].garments[0].label
    with opened(browser, folder) as page:
        chip(page, label).click()
        count = tiles(page).count()
        tiles(page).first.click()
        heading = page.locator("#garment h2")
        expect(heading).to_have_text(label)
        expect(heading).to_be_focused()
        expect(page.locator("#list")).to_be_hidden()
        assert page.evaluate("document.querySelector('#garment .cloth img').decode().then(() => true)")
        expect(page.locator("#garment svg image")).to_have_attribute("href", "small/photographs/1_figure.jpg")
        expect(page.get_by_role("link", name="Open in Label Studio")).to_have_attribute("href", f"{TASKS_URL}1")
        facts = page.locator(".facts")
        expect(facts).to_contain_text("2026-11-30 07:12")
        expect(facts).to_contain_text("a person")
        # What goes with it has its label; what is worn with it is the rest of the photograph.
        near, worn = page.locator("#garment .few").first, page.locator("#garment .few").last
        expect(near.locator(".tile").first).to_have_attribute("data-key", "901-1")
        expect(near.locator(".tile").first).to_contain_text("distance 0.0")
        expect(worn.locator(".tile")).to_have_count(len(shown[0].garments) - 1)
        page.screenshot(path=shot("garment"), full_page=True)
        near.locator(".tile").first.click()
        expect(facts).to_contain_text("the model")
        expect(facts).to_contain_text("0.87")
        page.go_back()
        expect(facts).to_contain_text("a person")
        page.go_back()
        expect(tiles(page)).to_have_count(count)
        expect(chip(page, label)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#garment")).to_be_hidden()
        page.go_forward()
        expect(heading).to_have_text(label)
        page.get_by_role("link", name="1_figure", exact=True).click()
        expect(tiles(page)).to_have_count(len(shown[0].garments))
    with opened(browser, folder, "#garment=4000-1") as page:
        expect(page.locator("#garment h2")).to_have_text("This garment is not here")
        page.get_by_role("link", name="All garments").click()
        expect(tiles(page).first).to_be_visible()


def test_keys_suffice(browser: Browser, written: tuple[Path, list[GarmentImage]]) -> None:
    folder, _ = written
    with opened(browser, folder, viewport={"width": 1280, "height": 900}) as page:
        keys = [one.get_attribute("data-key") or "" for one in tiles(page).all()]
        page.keyboard.press("/")
        expect(page.locator("#search")).to_be_focused()
        page.keyboard.type("figure")
        shown = [one.get_attribute("data-key") or "" for one in tiles(page).all()]
        assert shown == [key for key in keys if not key.startswith("90")]
        page.keyboard.press("Enter")
        tile = {key: page.locator(f"#tiles [data-key='{key}']") for key in shown}
        expect(tile[shown[0]]).to_be_focused()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowUp")
        expect(tile[shown[1]]).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#garment h2")).to_be_focused()
        # Each garment names the next one: so the page is known to show it.
        for key, following in (("ArrowRight", shown[3]), ("ArrowLeft", shown[2]), ("ArrowLeft", shown[1])):
            page.keyboard.press(key)
            expect(page.locator("[rel=next]")).to_have_attribute("href", f"#garment={following}")
        expect(page.locator("[aria-disabled]", has_text="previous")).to_be_visible()
        page.keyboard.press("Escape")
        expect(tile[shown[0]]).to_be_focused()
        expect(tiles(page)).to_have_count(len(shown))


def test_names_are_shown_as_they_are(browser: Browser, written: tuple[Path, list[GarmentImage]]) -> None:
    folder, _ = written
    with opened(browser, folder) as page:
        expect(page).to_have_title(HOSTILE)
        expect(page.locator("h1")).to_have_text(HOSTILE)
        page.locator("#search").fill("onerror")
        expect(tiles(page)).to_have_count(1)
        tiles(page).first.click()
        expect(page.locator("#garment h2")).to_have_text(HOSTILE)
        expect(page.locator(".facts")).to_contain_text("900_<b>")
        expect(page.locator("[onerror]")).to_have_count(0)
        for picture in page.locator("#garment .cloth img").all():
            assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 0


def test_pictures_are_read_when_they_come_into_view(browser: Browser, tmp_path: Path) -> None:
    write_drawn_wardrobe(tmp_path / "many", small_images(400))
    with opened(browser, tmp_path / "many", viewport={"width": 390, "height": 800}) as page:
        page.wait_for_load_state("networkidle")
        last = tiles(page).last.locator("img").element_handle()
        assert last and tiles(page).count() == 150
        assert not last.evaluate("one => one.complete && one.naturalWidth > 0")
        last.scroll_into_view_if_needed()
        page.wait_for_function("one => one.complete && one.naturalWidth > 0", arg=last)
        # Further tiles are made as the end comes near, down to the last, from which one comes back to it.
        expect(tiles(page)).to_have_count(300)
        tiles(page).last.scroll_into_view_if_needed()
        expect(tiles(page)).to_have_count(400)
        tiles(page).last.click()
        expect(page.locator("[aria-disabled]", has_text="next")).to_be_visible()
        page.go_back()
        expect(tiles(page).last).to_be_focused()
        expect(tiles(page).last).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(browser: Browser, written: tuple[Path, list[GarmentImage]], scheme: str) -> None:
    folder, _ = written
    for name, width in WIDTHS_PX.items():
        size = {"width": width, "height": 800}
        with opened(browser, folder, viewport=size, color_scheme=scheme, has_touch=name == "phone") as page:
            chip(page, "red").click()
            page.screenshot(path=shot(f"list-{name}-{scheme}"))
            for _ in range(2):
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                assert contrasts(page) >= 4.5
                if page.locator("#garment").is_hidden():
                    tiles(page).first.click()
                    page.locator("#garment h2").wait_for()
            page.screenshot(path=shot(f"garment-{name}-{scheme}"), full_page=True)


def shot(name: str) -> Path:
    """Where a screenshot is kept."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS / f"{name}.png"
