"""The review sheet as a person works through it: by keys alone, by touch, and while the network is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from backend.review.approve import REVIEWED
from backend.review.sheet import SIZE
from tests.backend.conftest import PASSWORD, USER, Served, served, settings_with_label_studio
from tests.backend.page.test_in_chromium import contrasts
from tests.conftest import ARTEFACTS, Studio
from tests.e2e.annotator import PATIENCE_MS, Annotator, running_browser
from tests.projects import Predicted, predicted_project

pytestmark = [pytest.mark.services, pytest.mark.browser, pytest.mark.timeout(900)]
expect.set_options(timeout=PATIENCE_MS)

SHOTS = ARTEFACTS / "screenshots" / "review_sheet"
COUNT = 2 * SIZE + 3
SCREENS = {"wide": (1500, 950), "tablet": (800, 1100), "phone": (390, 800)}


@pytest.fixture
def predicted(
    label_studio: Studio, redis_address: str, tmp_path: Path, starter: Path
) -> Iterator[tuple[Predicted, Served]]:
    """Predictions for three sheets, and the backend that shows them."""
    settings = settings_with_label_studio(
        label_studio, redis_address, tmp_path / "data", device="cpu", segmenter="builtin", sam_weights=""
    )
    folder = label_studio.files / tmp_path.name
    folder.mkdir()
    made = predicted_project(settings, folder, starter, count=COUNT)
    with served(settings) as running:
        yield made, running
    made.studio.sdk.projects.delete(made.number)


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with running_browser(chromium) as browser:
        yield browser


def open_sheet(browser: Browser, running: Served, project_id: int, **options: object) -> tuple[Page, list[str]]:
    """The page, in a profile of its own; what goes wrong in it is added to the list."""
    credentials = {"username": USER, "password": PASSWORD}
    profile = browser.new_context(http_credentials=credentials, **options)  # type: ignore[arg-type]
    page, wrong = profile.new_page(), list[str]()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(f"{running.client.base_url}/review?project={project_id}")
    page.locator(".look").first.wait_for()
    return page, wrong


def shown(page: Page) -> list[int]:
    """The tasks on the sheet."""
    return [int(one.get_attribute("data-task") or 0) for one in page.locator(".one").all()]


def press(page: Page, *keys: str) -> None:
    for key in keys:
        if key == "Enter":
            page.locator("#approve:enabled").wait_for()
        page.keyboard.press(key)


def test_keys_suffice(browser: Browser, predicted: tuple[Predicted, Served], label_studio: Studio) -> None:
    project, running = predicted
    anna = project.add_member("Anna")
    page, wrong = open_sheet(browser, running, project.number, viewport={"width": 1500, "height": 950})
    tasks, said = project.tasks, page.locator("#said")
    assert shown(page) == tasks[:SIZE]
    # Nothing is stored before it is known for whom.
    press(page, "Enter")
    expect(said).to_have_text("Choose first as whom you approve.")
    page.locator("#by").select_option(str(anna))

    # Six in a row: from the first to the second, to the eighth below it, and there it is taken out.
    press(page, "ArrowRight", "ArrowDown", "Space")
    out = tasks[7]
    expect(page.locator(f"[data-task='{out}'] .look")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#approve")).to_contain_text("Approve 11")
    # Another is taken out, and put back.
    press(page, "ArrowLeft", "Space", "Space", "ArrowUp")
    expect(page.locator(f"[data-task='{tasks[0]}'] .look")).to_be_focused()
    page.screenshot(path=shot("keys"))
    press(page, "Enter")
    expect(page.locator(".one").first).to_have_attribute("data-task", str(tasks[SIZE]))
    expect(said).to_contain_text("11 approved as Anna")
    assert shown(page) == tasks[SIZE : 2 * SIZE]
    stored = {task_id: project.annotations(task_id) for task_id in tasks[:SIZE]}
    assert stored.pop(out) == []
    assert all(one["completed_by"] == anna for (one,) in stored.values())

    press(page, "Enter")
    expect(said).to_contain_text("12 approved as Anna")
    assert shown(page) == tasks[2 * SIZE :]
    press(page, "u")
    expect(said).to_contain_text("12 undone.")
    assert shown(page) == tasks[SIZE : 2 * SIZE]
    assert not any(project.annotations(task_id) for task_id in tasks[SIZE : 2 * SIZE])
    press(page, "u")
    expect(said).to_contain_text("11 undone.")
    expect(page.locator(f"[data-task='{out}'] .look")).to_have_attribute("aria-pressed", "true")
    assert project.studio.count_annotated(project.number) == 0

    # On to the end.
    for sheet, count in (("first", 11), ("second", 12), ("third", 3)):
        press(page, "Enter")
        expect(said, sheet).to_contain_text(f"{count} approved as Anna")
    expect(page.locator("#sheet")).to_contain_text("That was the last sheet.")
    assert project.studio.count_annotated(project.number) == COUNT - 1
    link = page.locator("#taken a")
    assert link.get_attribute("href") == f"{label_studio.url}/projects/{project.number}/data?task={out}"
    # What was taken out is still so after the page is loaded again.
    page.reload()
    expect(page.locator(".look")).to_have_attribute("aria-pressed", "true")
    assert not wrong
    page.context.close()


def test_label_studio_shows_whose_annotation_it_is(
    browser: Browser, predicted: tuple[Predicted, Served], label_studio: Studio
) -> None:
    project, running = predicted
    anna = project.add_member("Anna")
    page, wrong = open_sheet(browser, running, project.number)
    page.locator("#by").select_option(str(anna))
    press(page, "Enter")
    expect(page.locator("#said")).to_contain_text("12 approved as Anna")
    (annotation,) = project.annotations(project.tasks[0])
    assert all(region["meta"]["text"] == [REVIEWED] for region in annotation["result"])
    annotator = Annotator(page, label_studio.url, SHOTS)
    annotator.log_in(label_studio.email, label_studio.password)
    page.goto(f"{label_studio.url}/projects/{project.number}/data?task={project.tasks[0]}")
    page.locator("canvas").first.wait_for()
    expect(page.get_by_text("Anna", exact=False).first).to_be_visible()
    page.screenshot(path=shot("in-label-studio"))
    assert not wrong
    page.context.close()


def test_what_was_not_stored_is_kept_and_tried_again(browser: Browser, predicted: tuple[Predicted, Served]) -> None:
    project, running = predicted
    page, wrong = open_sheet(browser, running, project.number)
    page.locator("#by").select_option(label=project.studio.members()[1])
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    press(page, "Space", "Enter")
    expect(page.locator("#said")).to_contain_text("11 not stored: they are kept on this page.")
    expect(page.locator("#said")).to_contain_text("does not answer")
    page.screenshot(path=shot("away"))
    # The sheet after this one was not read ahead either.
    press(page, "Enter")
    expect(page.locator("#sheet")).to_contain_text("The next sheet could not be read.")
    assert project.studio.count_annotated(project.number) == 0
    page.context.set_offline(False)
    press(page, "r")
    expect(page.locator(".one")).to_have_count(3)
    expect(page.locator("#said")).to_contain_text("12 approved")
    expect(page.locator("#again")).to_be_hidden()
    assert project.studio.count_annotated(project.number) == 2 * SIZE - 1
    expect(page.locator("#taken summary")).to_have_text("1 taken out")
    assert not wrong
    page.context.close()


def test_undoing_deletes_what_was_stored_without_an_answer(
    browser: Browser, predicted: tuple[Predicted, Served]
) -> None:
    project, running = predicted
    page, wrong = open_sheet(browser, running, project.number)
    page.locator("#by").select_option(label=project.studio.members()[1])
    page.wait_for_load_state("networkidle")
    answers = "**/review/approve"
    page.route(answers, lambda route: (route.fetch(), route.abort()))
    press(page, "Space", "Enter")
    expect(page.locator("#said")).to_contain_text("11 not stored: they are kept on this page.")
    assert project.studio.count_annotated(project.number) == SIZE - 1
    # What is there is not known before the backend answers.
    press(page, "u")
    expect(page.locator("#said")).to_contain_text("Not undone.")
    page.unroute(answers)
    press(page, "u")
    expect(page.locator("#said")).to_contain_text("11 undone.")
    assert project.studio.count_annotated(project.number) == 0
    assert shown(page) == project.tasks[:SIZE]
    expect(page.locator("#again")).to_be_hidden()
    assert not wrong
    page.context.close()


def test_of_two_people_with_the_same_sheet_one_is_told(browser: Browser, predicted: tuple[Predicted, Served]) -> None:
    project, running = predicted
    people = {name: project.add_member(name) for name in ("Anna", "Ravi")}
    pages = {name: open_sheet(browser, running, project.number)[0] for name in people}
    for name, page in pages.items():
        page.locator("#by").select_option(str(people[name]))
    press(pages["Anna"], "ArrowRight", "Space", "Enter")
    expect(pages["Anna"].locator("#said")).to_contain_text("11 approved as Anna")
    press(pages["Ravi"], "Enter")
    said = pages["Ravi"].locator("#said")
    expect(said).to_contain_text("1 approved as Ravi")
    expect(said).to_contain_text(f"Task {project.tasks[0]} was approved meanwhile by Anna")
    by = [[one["completed_by"] for one in project.annotations(task_id)] for task_id in project.tasks[:2]]
    assert by == [[people["Anna"]], [people["Ravi"]]]
    for page in pages.values():
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_works_by_touch(browser: Browser, predicted: tuple[Predicted, Served], scheme: str) -> None:
    project, running = predicted
    for name, (width, height) in SCREENS.items():
        page, wrong = open_sheet(
            browser,
            running,
            project.number,
            viewport={"width": width, "height": height},
            has_touch=True,
            color_scheme=scheme,
        )
        page.locator("#by").select_option(label=project.studio.members()[1])
        tile = page.locator(".look").nth(1)
        tile.tap()
        expect(tile).to_have_attribute("aria-pressed", "true")
        page.screenshot(path=shot(f"{name}-{scheme}"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert contrasts(page) >= 4.5
        page.locator("#approve").tap()
        expect(page.locator("#said")).to_contain_text("11 approved")
        page.locator("#undo").tap()
        expect(page.locator("#said")).to_contain_text("11 undone.")
        assert not wrong
        page.context.close()


def shot(name: str) -> Path:
    """Where a screenshot is kept."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS / f"{name}.png"
