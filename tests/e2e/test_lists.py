"""Two lists of labels in a stock Label Studio's page: a box of the first becomes a polygon of the second."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.label_studio.client import LabelStudio
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import Backend, connect_backend
from tests.backend.conftest import PASSWORD, SECRET, USER, served, settings_with_label_studio
from tests.conftest import ARTEFACTS, Studio
from tests.e2e.annotator import Annotator, browser_page
from tests.projects import project_of_figures
from tests.support import wait_for

pytestmark = [pytest.mark.services, pytest.mark.browser, pytest.mark.timeout(900)]


def test_a_box_of_the_first_list_is_stored_as_polygons_of_the_second(
    label_studio: Studio, redis_address: str, tmp_path: Path, chromium: str
) -> None:
    settings = settings_with_label_studio(
        label_studio,
        redis_address,
        tmp_path / "data",
        segmenter="builtin",
    )
    studio = LabelStudio(settings)
    number = project_of_figures(
        studio,
        label_studio.files / tmp_path.name,
        (2,),
        title=tmp_path.name,
        label_config=palette(GARMENTS, "lists"),
    )
    shots = ARTEFACTS / "screenshots" / "lists"
    shots.mkdir(parents=True, exist_ok=True)
    with served(settings) as running, browser_page(chromium) as page:
        wait_for(lambda: running.service.interactive.segmenter.name == "builtin")
        backend = Backend(str(running.client.base_url), user=USER, password=PASSWORD, webhook_secret=SECRET)
        connect_backend(studio, project_id=number, backend=backend)
        (task_id,) = studio.task_ids(number)
        annotator = Annotator(page, label_studio.url, shots)
        annotator.log_in(label_studio.email, label_studio.password)
        annotator.open_task(number, task_id)
        annotator.take_box_tool("2")
        boxed = annotator.drag((0.2, 0.2), (0.5, 0.95))
        annotator.screenshot("box")
        annotator.accept()
        annotator.submit()
    assert {region["value"]["polygonlabels"][0] for region in boxed} == {GARMENTS[1]}
    (task,) = studio.annotated_tasks(number)
    (annotation,) = task["annotations"]
    regions = [region for region in annotation["result"] if region["type"] != "textarea"]
    assert {(region["type"], region["from_name"]) for region in regions} == {("polygonlabels", "polygon")}
    assert {label for region in regions for label in region["value"]["polygonlabels"]} == {GARMENTS[1]}
    studio.sdk.projects.delete(number)
