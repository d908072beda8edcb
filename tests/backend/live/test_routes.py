"""The live page over real HTTP, at a real Label Studio, and without one."""

from __future__ import annotations

import re

import cv2
import httpx
import pytest

from backend.live.routes import ASSETS, FRAME_MAX_BYTES
from backend.page.routes import POLICY
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import palette
from tests.backend.conftest import Served, served
from tests.projects import Predicted

pytestmark = pytest.mark.services

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
CHOSEN = re.compile(r'<option value="([^"]*)" selected>')
FIGURE = cv2.imencode(".jpg", draw_figure(703).pixels[..., ::-1])[1].tobytes()


def test_the_page_is_whole_without_anything_else(running: Served, tried: Predicted) -> None:
    page = running.client.get("/live", params={"project": tried.number}, headers=BROWSER)
    assert page.status_code == 200
    # The status page's policy; beyond it only a video that the user picks.
    assert page.headers["content-security-policy"] == f"{POLICY}; media-src blob:"
    assert "http" not in page.text.replace(running.service.connections.settings.label_studio_url, "")
    names = running.service.project_status.versions(tried.number)
    assert CHOSEN.findall(page.text) == names
    assert all(f"<option>{label}</option>" in page.text for label in ("saree", "top"))
    for name, kind in ASSETS.items():
        answer = running.client.get(f"/live/{name}")
        assert kind in answer.headers["content-type"] and "http" not in answer.text
    assert running.client.get("/live/routes.py").status_code == 404
    # The way here.
    status = running.client.get("/", params={"project": tried.number}, headers=BROWSER).text
    assert f'href="/live?project={tried.number}"' in status


def test_without_a_project_it_is_the_first_with_a_model(running: Served, tried: Predicted) -> None:
    page = running.client.get("/live", headers=BROWSER).text
    assert f'data-project="{tried.number}"' in page


def test_a_program_learns_that_the_service_runs_a_browser_needs_credentials(running: Served, tried: Predicted) -> None:
    running.client.auth = httpx.BasicAuth("somebody", "else")
    assert running.client.get("/live").status_code == 204
    refused = running.client.get("/live", params={"project": tried.number}, headers=BROWSER)
    assert (refused.status_code, refused.content) == (401, b"")
    for path in ("frame", "task"):
        answer = running.client.post(f"/projects/{tried.number}/live/{path}", params={"name": "a.jpg"}, content=FIGURE)
        assert answer.status_code == 401


def test_each_version_answers_a_frame(running: Served, tried: Predicted) -> None:
    path = f"/projects/{tried.number}/live/frame"
    for version in running.service.project_status.versions(tried.number):
        seen = running.client.post(path, params={"version": version}, content=FIGURE).json()
        assert seen["version"] == version and seen["garments"] and seen["ms"] > 0
        points = [point for garment in seen["garments"] for line in garment["outlines"] for point in line]
        assert all(0 <= x <= seen["width"] and 0 <= y <= seen["height"] for x, y in points)
    assert running.client.post(path, content=FIGURE).json()["version"] == tried.version
    assert 'drape_predict_seconds_count{kind="live"} 3.0' in running.client.get("/metrics").text
    assert not running.service.connections.problems.recent(20)


def test_a_photograph_becomes_a_task_with_the_prediction(running: Served, tried: Predicted) -> None:
    path, before = f"/projects/{tried.number}/live/task", tried.studio.task_ids(tried.number)
    stored = running.client.post(path, params={"version": tried.version, "name": "../at/Diwali 1.jpg"}, content=FIGURE)
    (task_id,) = set(tried.studio.task_ids(tried.number)) - set(before)
    settings = running.service.connections.settings
    (task,) = tried.studio.tasks(tried.number, [task_id])
    (prediction,) = task["predictions"]
    assert stored.json() == {
        "task_id": task_id,
        "version": tried.version,
        "garments": len({one["id"] for one in prediction["result"] if "parentID" not in one}),
        "url": f"{settings.tasks_url(tried.number)}?task={task_id}",
    }
    assert prediction["model_version"] == tried.version
    assert 0 < prediction["score"] < 1
    assert "Diwali_1.jpg" in task["data"]["image"] and ".." not in task["data"]["image"]
    assert tried.studio.send("GET", task["data"]["image"]).content == FIGURE


# path below the project's, parameters, body, status, a part of the sentence
REFUSED = [
    ("live/frame", {}, b"no picture", 422, "not an image in a supported format"),
    ("live/frame", {}, b"", 422, "not an image in a supported format"),
    ("live/frame", {}, bytes(FRAME_MAX_BYTES + 1), 413, "The frame is larger than 4 MB"),
    ("live/frame", {"version": "yolo11n-seg-v9-000000"}, FIGURE, 404, "has no model version 'yolo11n-seg-v9-000000'"),
    ("live/frame", {"version": "../../secrets"}, FIGURE, 404, "has no model version '../../secrets'"),
    ("live/task", {"name": "a.jpg"}, b"no picture", 422, "not an image in a supported format"),
    ("live/task", {"name": "a.svg"}, FIGURE, 422, "takes no file of this type"),
    ("live/task", {"name": ""}, FIGURE, 422, "takes no file of this type"),
    ("live/task", {"name": "a.jpg", "version": "none"}, FIGURE, 404, "has no model version 'none'"),
    ("live/task", {}, FIGURE, 422, "name"),
]


@pytest.mark.parametrize(("path", "query", "body", "status", "sentence"), REFUSED)
def test_it_says_what_is_wrong(
    running: Served, tried: Predicted, path: str, query: dict[str, str], body: bytes, status: int, sentence: str
) -> None:
    before = tried.studio.task_ids(tried.number)
    answer = running.client.post(f"/projects/{tried.number}/{path}", params=query, content=body)
    assert answer.status_code == status
    assert sentence in str(answer.json()["detail"])
    assert tried.studio.task_ids(tried.number) == before


@pytest.mark.parametrize("path", ["frame", "task"])
def test_other_sites_try_nothing(running: Served, tried: Predicted, path: str) -> None:
    for headers in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = running.client.post(
            f"/projects/{tried.number}/live/{path}", params={"name": "a.jpg"}, content=FIGURE, headers=headers
        )
        assert answer.status_code == 403
    assert tried.studio.task_ids(tried.number) == tried.tasks


def test_unknown_projects_and_projects_without_a_model_say_so(running: Served, tried: Predicted) -> None:
    unknown = running.client.get("/live", params={"project": 4711}, headers=BROWSER)
    assert unknown.status_code == 503 and "404" in unknown.text and "live.js" not in unknown.text
    assert running.client.post("/projects/4711/live/frame", content=FIGURE).status_code == 503
    project = tried.studio.sdk.projects.create(title="No model", label_config=palette(("saree",)))
    page = running.client.get("/live", params={"project": project.id}, headers=BROWSER)
    assert page.status_code == 200 and "has no model yet" in page.text and "live.js" not in page.text
    answer = running.client.post(f"/projects/{project.id}/live/frame", content=FIGURE)
    assert answer.status_code == 404 and "has no model yet" in answer.json()["detail"]
    tried.studio.sdk.projects.delete(project.id)


def test_without_label_studio_the_page_says_so(tried: Predicted, live_settings: Settings) -> None:
    with served(live_settings.model_copy(update={"label_studio_url": "http://127.0.0.1:1"})) as service:
        page = service.client.get("/live", params={"project": tried.number}, headers=BROWSER)
        assert page.status_code == 503 and "Label Studio does not answer" in page.text
        assert service.client.get("/live").status_code == 204
