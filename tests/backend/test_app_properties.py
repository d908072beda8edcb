"""Requests made from the service's own OpenAPI document, and near misses of Label Studio's: never a status of 500.

`make fuzz` sends 20,000 from the document and 40,000 near misses.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.schemas import OpenApiSchema

from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.backend.conftest import SECRET, Served, image_files, served
from tests.backend.junk import ANY_JSON, CONTEXTS, DRAWN, WEBHOOKS, nearly, predict_bodies, written
from tests.support import add_starter

pytestmark = pytest.mark.services

BODIES = ["/setup", "/predict", "/webhook", "/versions", "/validate"]
# Whatever these are sent, they ask Label Studio first, which is none here; see tests/backend/review/test_routes.py.
ASKING = {"/projects/{project_id}/review/approve", "/projects/{project_id}/review/undo"}
CONFIG = palette(GARMENTS).replace('value="saree"', 'value="saree" exclusive="true"')


@pytest.fixture(scope="module")
def running(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service with a real Redis, and one image at `/figure.png`; it asks for no credentials."""
    folder = tmp_path_factory.mktemp("fuzzed")
    with image_files(folder) as url:
        Pillow.fromarray(draw_figure(3).pixels).save(folder / "figure.png")
        limits = Settings(
            data_dir=folder / "data",
            label_studio_url=url,
            label_studio_api_key="0" * 40,
            redis_url=redis_server,
            device="cpu",
            webhook_secret=SECRET,
        )
        with served(limits) as service:
            yield service


@pytest.fixture(scope="module")
def document(running: Served) -> OpenApiSchema:
    """What the service says of itself."""
    schema = schemathesis.openapi.from_dict(running.app.openapi())
    schema.config.update(base_url=str(running.client.base_url))
    return schema


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", BODIES)
def test_what_the_document_allows_and_what_it_does_not(
    document: OpenApiSchema, path: str, mode: GenerationMode
) -> None:
    # Not `schema.parametrize()`: schemathesis 4.32 cannot make lazy tests under pytest 9.2.
    @settings(max_examples=settings().max_examples // 5)
    @given(document[path]["POST"].as_strategy(mode))
    def send(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(checks=[not_a_server_error], headers={"X-Drape-Secret": SECRET}, session=session)

    with requests.Session() as session:
        send()


def test_the_document_describes_every_body(document: OpenApiSchema, running: Served) -> None:
    paths = running.app.openapi()["paths"]
    described = {path for path, methods in paths.items() if "requestBody" in methods.get("post", {})}
    assert described == set(BODIES) | ASKING


def post(running: Served, path: str, body: Any) -> httpx.Response:
    headers = {"Content-Type": "application/json", "X-Drape-Secret": SECRET}
    return running.client.post(path, content=body if isinstance(body, bytes) else written(body), headers=headers)


@given(predict_bodies(CONFIG))
def test_near_misses_of_a_prediction(running: Served, body: Any) -> None:
    assert post(running, "/predict", body).status_code in (200, 400, 422)


@given(nearly(CONTEXTS), DRAWN, DRAWN)
def test_near_misses_of_a_click(running: Served, context: Any, drafts: Any, annotations: Any) -> None:
    task = {"id": 5, "data": {"image": "/figure.png"}, "drafts": drafts, "annotations": annotations}
    body = {"tasks": [task], "project": "1.17", "label_config": CONFIG, "params": {"context": context}}
    assert post(running, "/predict", body).status_code in (200, 422)


@given(nearly(WEBHOOKS))
def test_near_misses_of_a_webhook(running: Served, body: Any) -> None:
    assert post(running, "/webhook", body).status_code in (201, 422)


@given(st.sampled_from(BODIES), st.one_of(st.binary(), ANY_JSON))
def test_bodies_that_are_nothing(running: Served, path: str, body: Any) -> None:
    assert post(running, path, body).status_code in (200, 400, 422)


def test_afterwards_it_still_tells_how_it_is(running: Served, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        sys.stdout.write(f"\n{running.server.server_state.total_requests:,} requests, none of them a status of 500\n")
    for path in ("/health", "/status", "/metrics", "/job_status"):
        assert running.client.get(path).status_code == 200


# An address that no answer can hold, a number that no file or job is named after.
SPOILED = [
    ("/predict", {"tasks": [], "project": 10**4000, "label_config": CONFIG}, 422),
    ("/versions", {"project": "9" * 4000}, 422),
    ("/webhook", {"action": "\ud800", "project": {"id": 1}}, 422),
    ("/webhook", {"action": "ANNOTATION_CREATED", "project": {"id": 1}, "annotation": {"result": "abc"}}, 201),
    (
        "/webhook",
        {"action": "ANNOTATION_CREATED", "project": {"id": 1}, "annotation": {"result": [{"meta": "x"}]}},
        201,
    ),
    ("/webhook", b'{"action": "?", "project": {"id": 1}, "annotation": ' + b'{"a":' * 900 + b"1" + b"}" * 901, 422),
    ("/predict", {"tasks": [{"id": 1, "data": {}}], "label_config": CONFIG, "params": {"context": {"result": 5}}}, 200),
    ("/setup", b"[" * 100_000, 400),
    ("/predict", b"[" * 100_000, 422),
]


@pytest.mark.parametrize(("path", "body", "status"), SPOILED)
def test_what_once_failed(running: Served, path: str, body: Any, status: int) -> None:
    assert post(running, path, body).status_code == status
    assert running.client.get("/metrics").status_code == 200


def test_names_of_actions_take_no_memory(running: Served) -> None:
    for number in range(50):
        post(running, "/webhook", {"action": f"action {number}", "project": {"id": 1}})
    assert "action 49" not in running.client.get("/metrics").text


def test_a_problem_that_cannot_be_written_is_shown_all_the_same(running: Served) -> None:
    running.service.connections.problems.report("The image '\ud800' is damaged." + "x" * 10**6)
    newest = running.client.get("/status").json()["problems"][0]["text"]
    assert newest.startswith("The image '?'") and len(newest) == 1000


def test_bombs_among_a_projects_images_are_empty_lists(running: Served, starter: Path) -> None:
    folder = running.service.connections.settings.data_dir.parent
    version = add_starter(running.service.connections.registry, 9, starter)
    running.service.connections.registry.promote(9, version.name)
    Pillow.new("RGB", (100_000, 1)).save(folder / "wide.png")
    Pillow.new("RGB", (1, 100_000)).save(folder / "high.jpg.png")
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><html/>")
    (folder / "drawing.svg").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    names = ["figure.png", "wide.png", "high.jpg.png", "page.jpg", "drawing.svg", "figure.png"]
    tasks = [{"id": number, "data": {"image": f"/{name}"}} for number, name in enumerate(names)]
    body = {"tasks": tasks, "project": "9.17", "label_config": CONFIG, "params": {"context": None}}
    results = post(running, "/predict", body).json()["results"]
    # What is only odd in shape is looked at.
    assert [isinstance(result, dict) for result in results] == [True, True, True, False, False, True]
    assert results[3:5] == [[], []] and results[0]["result"]
    # Clicks into them are answered, too.
    click = {"id": "k", "type": "keypoint", "value": {"x": 50, "y": 50, "labels": ["saree"]}}
    for name in names[:3]:
        task = {"id": 5, "data": {"image": f"/{name}"}}
        context = {
            "tasks": [task],
            "project": "9.17",
            "label_config": CONFIG,
            "params": {"context": {"result": [click]}},
        }
        assert post(running, "/predict", context).status_code == 200
