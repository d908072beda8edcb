"""SAM 3 at the annotator's hand: clicks, boxes and words in Chromium, on a stock Label Studio.

The model is small and of random weights: what is tried is the way from the page to the model's heads and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.label_studio.client import LabelStudio
from backend.regions.decode import decode
from backend.settings import Settings
from benchmarks.random_weights import random_sam3, small_sam3
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import Backend, connect_backend, ensure_local_files, ensure_project
from tests.backend.conftest import PASSWORD, SECRET, USER, served, settings_with_label_studio
from tests.conftest import ARTEFACTS, Studio
from tests.e2e.annotator import Annotator, browser_page
from tests.support import wait_for

pytestmark = [pytest.mark.services, pytest.mark.browser, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Project:
    """One drawn figure in a Label Studio that is connected to a backend with SAM 3."""

    number: int
    task_id: int
    studio: Studio


@pytest.fixture
def project(label_studio: Studio, redis_address: str, tmp_path: Path) -> Iterator[Project]:
    with small_sam3():
        settings = settings_with_label_studio(
            label_studio,
            redis_address,
            tmp_path / "data",
            device="cpu",
            sam3_weights=str(random_sam3(tmp_path, seed=1)),
            model_score_threshold=0.2,
        )
        folder = label_studio.files / tmp_path.name
        write_images(folder, (2,))
        studio = LabelStudio(settings)
        number = ensure_project(studio, title="SAM 3", label_config=palette(GARMENTS))
        with served(settings) as running:
            wait_for(lambda: running.service.interactive.segmenter.name == "sam3")
            backend = Backend(str(running.client.base_url), user=USER, password=PASSWORD, webhook_secret=SECRET)
            connect_backend(studio, project_id=number, backend=backend)
            ensure_local_files(studio, project_id=number, folder=folder)
            (task_id,) = studio.task_ids(number)
            yield Project(number, task_id, label_studio)
        studio.sdk.projects.delete(number)


def labels(result: list[dict[str, Any]]) -> list[str]:
    masks, problems = decode(result)
    assert masks and not problems
    return [one.label for one in masks]


def test_click_box_and_words(project: Project, chromium: str) -> None:
    shots = ARTEFACTS / "screenshots" / "sam3"
    shots.mkdir(parents=True, exist_ok=True)
    with browser_page(chromium) as page:
        annotator = Annotator(page, project.studio.url, shots)
        annotator.log_in(project.studio.email, project.studio.password)
        annotator.open_task(project.number, project.task_id)
        # Each in an annotation of its own: what untrained weights make of a box may cover the image, and a click on a
        # region asks nothing.
        annotator.take_box_tool("2")
        assert set(labels(annotator.drag((0.3, 0.3), (0.7, 0.8)))) == {"blouse"}
        annotator.screenshot("box")
        annotator.start_blank()
        annotator.take_click_tool("1")
        assert set(labels(annotator.click(0.5, 0.5))) == {"saree"}
        annotator.screenshot("click")
        annotator.start_blank()
        found = annotator.write_words("silk saree")
        assert len(found) >= 2 and set(labels(found)) == {"saree"}
        count = sum(region["type"] == "polygon" for region in found)
        page.get_by_text(f"{count} suggestions").first.wait_for()
        annotator.screenshot("words")
        annotator.accept()
        annotator.submit()
    sdk = LabelStudio(Settings(label_studio_url=project.studio.url, label_studio_api_key=project.studio.api_key)).sdk
    (annotation,) = sdk.tasks.get(str(project.task_id)).annotations
    assert labels(annotation["result"]).count("saree") >= 2
