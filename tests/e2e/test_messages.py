"""Why a click was not answered, in the page of a stock Label Studio whose label config had no place to say it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from label_studio_config.demo.write import write_images
from label_studio_config.provision import Backend, connect_backend, ensure_local_files, ensure_project
from tests.backend.conftest import PASSWORD, SECRET, USER, served, settings_with_label_studio
from tests.conftest import ARTEFACTS, Studio
from tests.e2e.annotator import Annotator, browser_page
from tests.support import config_xml, wait_for

pytestmark = [pytest.mark.services, pytest.mark.browser, pytest.mark.timeout(900)]

WITHOUT_CONTROL = config_xml("single_palette")
REASON = "more than 100 (IMAGE_MAX_PIXELS)"


def test_a_refusal_is_read_in_the_page_once_the_project_is_connected(
    label_studio: Studio, redis_address: str, tmp_path: Path, chromium: str
) -> None:
    settings = settings_with_label_studio(
        label_studio,
        redis_address,
        tmp_path / "data",
        segmenter="builtin",
        # Every image is refused.
        image_max_pixels=100,
    )
    studio = LabelStudio(settings)
    folder = label_studio.files / tmp_path.name
    write_images(folder, (2,))
    number = ensure_project(studio, title=tmp_path.name, label_config=WITHOUT_CONTROL)
    shots = ARTEFACTS / "screenshots" / "messages"
    shots.mkdir(parents=True, exist_ok=True)
    with served(settings) as running, browser_page(chromium) as page:
        wait_for(lambda: running.service.interactive.segmenter.name == "builtin")
        backend = Backend(str(running.client.base_url), user=USER, password=PASSWORD, webhook_secret=SECRET)
        connect_backend(studio, project_id=number, backend=backend)
        connected = studio.project(number).label_config
        assert parse_label_config(connected).has_message_tag
        ensure_local_files(studio, project_id=number, folder=folder)
        (task_id,) = studio.task_ids(number)
        annotator = Annotator(page, label_studio.url, shots)
        annotator.log_in(label_studio.email, label_studio.password)

        # As it was before: the page shows nothing at all.
        studio.sdk.projects.update(number, label_config=WITHOUT_CONTROL)
        annotator.open_task(number, task_id)
        annotator.take_click_tool("1")
        assert annotator.click(0.5, 0.5) == []
        annotator.screenshot("without-control")
        assert page.get_by_text(REASON).count() == 0

        studio.sdk.projects.update(number, label_config=connected)
        annotator.open_task(number, task_id)
        annotator.take_click_tool("1")
        assert [region["from_name"] for region in annotator.click(0.5, 0.5)] == ["message"]
        page.get_by_text(REASON).first.wait_for()
        annotator.screenshot("with-control")
    studio.sdk.projects.delete(number)
