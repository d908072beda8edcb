"""The sheet over real HTTP, at a real Label Studio, and without one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from backend.label_studio.uploads import import_tasks
from backend.page.routes import POLICY
from backend.settings import Settings
from tests.backend.conftest import Served, served
from tests.projects import Predicted

pytestmark = pytest.mark.services

TILE = re.compile(r'data-task="(\d+)" data-prediction="(\d+)"')
NEXT = re.compile(r'data-next="([^"]*)"')


@pytest.fixture
def running(predicted: Predicted, reviewed_settings: Settings) -> Iterator[Served]:
    with served(reviewed_settings) as service:
        yield service


def test_the_page_is_whole_without_anything_else(running: Served, predicted: Predicted) -> None:
    page = running.client.get("/review", params={"project": predicted.number})
    assert page.status_code == 200 and page.headers["content-security-policy"] == POLICY
    studio = running.service.connections.settings.label_studio_url
    assert "http" not in page.text.replace(studio, "")
    assert f"{studio}/projects/{predicted.number}/data?task={predicted.tasks[0]}" in page.text
    assert {int(task): int(prediction) for task, prediction in TILE.findall(page.text)} == predicted.predictions
    for name, kind in (("review.css", "text/css"), ("review.js", "javascript")):
        answer = running.client.get(f"/review/{name}")
        assert f"/review/{name}" in page.text and kind in answer.headers["content-type"]
    assert running.client.get("/review/routes.py").status_code == 404
    # The way here.
    status = running.client.get("/", params={"project": predicted.number}, headers={"Accept": "text/html"}).text
    assert f'href="/review?project={predicted.number}"' in status


def test_links_lead_to_the_address_in_browsers(predicted: Predicted, reviewed_settings: Settings) -> None:
    public = reviewed_settings.model_copy(update={"label_studio_public_url": "https://labels.example.com/"})
    with served(public) as service:
        page = service.client.get("/review", params={"project": predicted.number}).text
    assert f"https://labels.example.com/projects/{predicted.number}/data?task=" in page


def test_sheets_follow_each_other_without_gap_or_repetition(running: Served, predicted: Predicted) -> None:
    (task,) = predicted.studio.tasks(predicted.number, predicted.tasks[:1])
    alike = {"result": task["predictions"][0]["result"], "score": 0.5, "model_version": predicted.version}
    more = [{"data": task["data"], "predictions": [alike]} for _ in range(26)]
    import_tasks(predicted.studio, project_id=predicted.number, tasks=more)
    address, seen = f"/review?project={predicted.number}", list[str]()
    while address:
        page = running.client.get(address).text
        seen += [task_id for task_id, _ in TILE.findall(page)]
        (address,) = NEXT.findall(page)
        address = address.replace("&amp;", "&")
    assert seen[:4] == [str(task_id) for task_id in predicted.tasks]
    assert len(seen) == len(set(seen)) == 30


def test_keys_approve_and_undo(running: Served, predicted: Predicted) -> None:
    path, anna = f"/projects/{predicted.number}/review", predicted.add_member("Anna")
    body = {"by": anna, "seconds": 1.5, "predictions": {str(t): p for t, p in predicted.predictions.items()}}
    outcomes: list[dict[str, Any]] = running.client.post(f"{path}/approve", json=body).json()
    assert [one["state"] for one in outcomes] == ["done"] * 4
    annotations = {
        str(one["task_id"]): {"id": one["annotation_id"], "updated_at": one["updated_at"]} for one in outcomes
    }
    assert "No more predictions" in running.client.get("/review", params={"project": predicted.number}).text
    undone = running.client.post(f"{path}/undo", json={"annotations": annotations}).json()
    assert [one["state"] for one in undone] == ["done"] * 4


@pytest.mark.parametrize("key", ["approve", "undo"])
def test_other_sites_approve_nothing(running: Served, predicted: Predicted, key: str) -> None:
    path = f"/projects/{predicted.number}/review/{key}"
    body = {"by": 1, "predictions": {str(predicted.tasks[0]): predicted.predictions[predicted.tasks[0]]}}
    for headers in ({"Origin": "https://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert running.client.post(path, json=body, headers=headers).status_code == 403
    assert not predicted.annotations(predicted.tasks[0])


def test_nobody_without_credentials_sees_a_photograph(running: Served, predicted: Predicted) -> None:
    running.client.auth = httpx.BasicAuth("somebody", "else")
    assert running.client.get("/review", params={"project": predicted.number}).status_code == 401
    assert running.client.post(f"/projects/{predicted.number}/review/approve", json={}).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"by": 1, "predictions": {str(number): 1 for number in range(13)}},
        {"by": 1, "predictions": {"x": 1}},
        {"by": -1, "predictions": {}},
        {"predictions": {}},
    ],
)
def test_other_bodies_are_refused(running: Served, predicted: Predicted, body: dict[str, Any]) -> None:
    assert running.client.post(f"/projects/{predicted.number}/review/approve", json=body).status_code == 422


def test_it_says_why_there_is_no_sheet(predicted: Predicted, reviewed_settings: Settings) -> None:
    projects = {"project": predicted.number}
    with served(reviewed_settings.model_copy(update={"approval": "reviewed"})) as service:
        page = service.client.get("/review", params=projects)
        assert page.status_code == 409 and "APPROVAL=submitted" in page.text and not TILE.findall(page.text)
        body = {"by": 1, "predictions": {str(predicted.tasks[0]): predicted.predictions[predicted.tasks[0]]}}
        assert service.client.post(f"/projects/{predicted.number}/review/approve", json=body).status_code == 409
        assert service.client.get("/review", params={"project": 4711}).status_code == 503
    assert not predicted.annotations(predicted.tasks[0])
    with served(reviewed_settings.model_copy(update={"label_studio_url": "http://127.0.0.1:1"})) as service:
        page = service.client.get("/review", params=projects)
        assert page.status_code == 503 and "Label Studio does not answer" in page.text
        answer = service.client.post(f"/projects/{predicted.number}/review/approve", json={"by": 1, "predictions": {}})
        assert answer.status_code == 503 and "does not answer" in answer.json()["detail"]


def test_a_project_without_a_model_says_so(running: Served, predicted: Predicted) -> None:
    project = predicted.studio.sdk.projects.create(title="No model", label_config="<View></View>")
    page = running.client.get("/review", params={"project": project.id})
    assert page.status_code == 200 and "has no model yet" in page.text
    predicted.studio.sdk.projects.delete(project.id)
