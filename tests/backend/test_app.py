"""Every recorded request against the real service, with a real Redis and images over real HTTP."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.routing import iter_route_contexts
from PIL import Image as Pillow
from rq import Queue
from rq.executions import Execution

from backend.auto_accept.marks import accepted_regions
from backend.queues.queues import Jobs
from backend.regions.decode import decode
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from backend.settings import Settings
from backend.web.authentication import LIVE
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, Style, palette
from tests.backend.conftest import Served, served
from tests.support import add_starter, iou, recorded, wait_for

pytestmark = pytest.mark.services

GREEN = (30, 160, 60)


def put_image(request: dict[str, Any], folder: Path, *, size_wh: tuple[int, int] = (810, 1080)) -> None:
    """A green figure on grey, where the recorded clicks are, under the address that the task names."""
    pixels = np.full((size_wh[1], size_wh[0], 3), 128, np.uint8)
    pixels[300:900, 60:300] = GREEN
    path = folder / str(request["tasks"][0]["data"]["image"]).lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path)


INTERACTIVE = [
    ("predict_one_click", "polygonlabels"),
    ("predict_two_clicks", "polygonlabels"),
    ("predict_one_click_single_palette", "polygon"),
    ("predict_click_after_accept_single_palette", "polygon"),
    ("predict_points_restored_from_draft_and_negative", "polygonlabels"),
    ("predict_box", "polygonlabels"),
]


@pytest.mark.parametrize(("name", "kind"), INTERACTIVE)
def test_recorded_clicks_and_boxes_get_regions(
    client: httpx.Client, files: tuple[str, Path], name: str, kind: str
) -> None:
    request = recorded(name)
    put_image(request, files[1])
    answer = client.post("/predict", json=request)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    assert result["result"][0]["type"] == kind
    assert result["model_version"] == "builtin"
    masks, problems = decode(result["result"])
    assert masks and not problems


def test_a_click_finds_the_green_figure(client: httpx.Client, files: tuple[str, Path]) -> None:
    request = recorded("predict_one_click")
    put_image(request, files[1])
    (result,) = client.post("/predict", json=request).json()["results"]
    truth = np.zeros((1080, 810), bool)
    truth[300:900, 60:300] = True
    assert iou(decode(result["result"])[0][0].mask, truth) > 0.97


def palette_request(image: str, regions: list[dict[str, Any]], *, style: Style = "palette") -> dict[str, Any]:
    task = {"id": 5, "data": {"image": image}, "project": 1}
    context = {"result": regions}
    config = palette(GARMENTS, style)
    return {"tasks": [task], "project": "1.17", "label_config": config, "params": {"context": context}}


def click(label: str | None) -> dict[str, Any]:
    value = {"x": 20, "y": 50, "width": 0.4, **({"labels": [label]} if label else {})}
    return {
        "id": "k",
        "type": "keypoint",
        "from_name": "click",
        "to_name": "image",
        "is_positive": True,
        "value": value,
    }


BOX_OF_A_LIST = {
    "id": "b",
    "type": "rectanglelabels",
    "from_name": "box",
    "to_name": "image",
    "value": {"x": 5, "y": 25, "width": 35, "height": 60, "rectanglelabels": ["saree"]},
}


def test_under_two_lists_a_box_becomes_a_polygon_of_the_second(client: httpx.Client, files: tuple[str, Path]) -> None:
    request = palette_request("/data/upload/1/a.jpg", [BOX_OF_A_LIST], style="lists")
    put_image(request, files[1])
    (region,) = client.post("/predict", json=request).json()["results"][0]["result"]
    assert (region["type"], region["from_name"]) == ("polygonlabels", "polygon")
    assert region["value"]["polygonlabels"] == ["saree"]


WRITTEN = {"id": "w", "type": "textarea", "from_name": "prompt", "value": {"text": ["silk saree"]}}

# what is asked, what the annotator reads above the image
EXCUSES = [
    ([click(None)], "Choose a label first"),
    ([click("turban")], "'turban' can be clicked but not drawn"),
    ([WRITTEN], "Words and examples need SAM 3"),
    ([{**click("saree"), "is_positive": False}], "Click on the garment first"),
]


@pytest.mark.parametrize(("regions", "said"), EXCUSES)
def test_the_annotator_reads_why_nothing_came(
    client: httpx.Client, files: tuple[str, Path], regions: list[dict[str, Any]], said: str
) -> None:
    request = palette_request("/data/upload/1/a.jpg", regions)
    put_image(request, files[1])
    answer = client.post("/predict", json=request)
    assert answer.status_code == 200
    (message,) = answer.json()["results"][0]["result"]
    assert (message["type"], message["from_name"]) == ("textarea", "message")
    assert said in message["value"]["text"][0]
    assert said in client.get("/status").json()["problems"][0]["text"]


def test_a_model_that_fails_is_said_too(
    client: httpx.Client, files: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: BuiltinSegmenter, image: object, prompt: object) -> None:
        raise RuntimeError("Out of memory.\nTried to allocate much.")

    monkeypatch.setattr(BuiltinSegmenter, "segment", fail)
    request = palette_request("/data/upload/1/a.jpg", [click("saree")])
    put_image(request, files[1])
    (message,) = client.post("/predict", json=request).json()["results"][0]["result"]
    assert message["value"]["text"] == ["The model builtin failed: Out of memory."]


def test_an_image_that_is_not_there_is_said_too(client: httpx.Client) -> None:
    answer = client.post("/predict", json=palette_request("/data/upload/1/none.jpg", [click("saree")]))
    assert "the server answered 404" in answer.json()["results"][0]["result"][0]["value"]["text"][0]


@pytest.mark.parametrize("name", ["predict_task_opened", "predict_batch_retrieve_predictions"])
def test_without_a_model_every_task_gets_an_empty_list(client: httpx.Client, name: str) -> None:
    request = recorded(name)
    answer = client.post("/predict", json=request)
    assert answer.json()["results"] == [[] for _ in request["tasks"]]


def test_setup_checks_the_config_and_names_the_version(client: httpx.Client) -> None:
    wait_for(lambda: client.get("/health").json()["segmenter"] == "builtin")
    answer = client.post("/setup", json=recorded("setup")).json()
    assert answer["model_version"] == "builtin"
    (warning,) = answer["warnings"]
    assert "no control for messages" in warning and "`drape connect` adds it" in warning
    with_control = client.post("/setup", json={**recorded("setup"), "schema": palette(GARMENTS)})
    assert with_control.json() == {"model_version": "builtin", "warnings": []}
    refused = client.post("/setup", json={**recorded("setup"), "schema": "<View/>"})
    assert refused.status_code == 400
    assert "<Image>" in refused.json()["detail"]
    # As Label Studio's connector asks, and as other clients do.
    for key in ("config", "schema"):
        assert client.post("/validate", json={key: recorded("setup")["schema"]}).json() == {"status": "ok"}
        refused = client.post("/validate", json={key: "<View/>"})
        assert refused.status_code == 400 and "<Image>" in refused.json()["detail"]
    assert client.post("/validate", json={}).status_code == 422


def test_the_versions_of_a_project_or_of_all(backend: Served, starter: Path) -> None:
    """Label Studio asks with GET, which names no project."""
    registry = backend.service.connections.registry
    first, _, second = (add_starter(registry, project, starter).name for project in (1, 2, 2))
    assert backend.client.post("/versions", json={"project": "1.17"}).json() == {"versions": [first]}
    assert backend.client.get("/versions").json() == {"versions": [first, second]}
    backend.service.project_status.gone_projects.remember({2})
    assert backend.client.get("/versions").json() == {"versions": [first]}


# body, the field that the answer names
MALFORMED = [
    ({}, "tasks"),
    ({"tasks": [], "label_config": 5}, "label_config"),
    ({"tasks": [{"id": "x", "data": {}}]}, "id"),
]


@pytest.mark.parametrize(("body", "field"), MALFORMED)
def test_a_body_that_is_not_the_protocol_names_the_field(
    client: httpx.Client, body: dict[str, Any], field: str
) -> None:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 422
    assert field in str(answer.json()["detail"])


def test_every_route_refuses_wrong_credentials(backend: Served) -> None:
    client = backend.client
    # The page's routes stand in a router of their own, which `app.routes` shows as one.
    ours = list(iter_route_contexts(backend.app.routes))
    routes = [(str(route.path), method) for route in ours for method in route.methods or ()]
    assert {"/", "/predict", "/projects/{project_id}/rollback", LIVE} < {path for path, _ in routes}
    for path, method in routes:
        if path == LIVE:
            continue
        for auth in (None, ("label-studio", "wrong"), ("wrong", "pass")):
            # Nobody's body is read before the credentials are right.
            for body in (b"{}", b"{", b"[]", b"\xff"):
                json = {"Content-Type": "application/json"}
                answer = httpx.request(method, f"{client.base_url}{path}", content=body, headers=json, auth=auth)
                assert answer.status_code == 401, (method, path, auth)
                assert answer.content == b""


def test_the_rest_of_the_protocol_answers(client: httpx.Client) -> None:
    for path in ("/", "/health"):
        assert client.get(path).json()["status"] == "UP"
    assert client.post("/versions", json={"project": "1.17"}).json() == {"versions": []}
    assert "drape_predict_seconds" in client.get("/metrics").text
    for path in ("/duplicate_model", "/delete"):
        assert client.post(path, json={}).status_code == 200
    assert client.get("/job_status").status_code == 200


WEBHOOKS = [
    ("webhook_TASKS_CREATED_upload", "checks", "backend.prelabel.jobs.share_out"),
    ("webhook_ANNOTATION_CREATED", "checks", "training.jobs.check_approvals"),
    ("webhook_ANNOTATION_CREATED_skipped", "checks", "training.jobs.check_approvals"),
    ("webhook_ANNOTATION_UPDATED_ground_truth", "checks", "training.jobs.check_approvals"),
    ("webhook_ANNOTATIONS_DELETED", "checks", "training.jobs.check_approvals"),
    ("webhook_ANNOTATIONS_CREATED", "checks", "training.jobs.check_approvals"),
    ("webhook_TASKS_DELETED", "checks", "training.jobs.check_approvals"),
    ("webhook_TASKS_DELETED_all_of_a_project", "checks", Jobs.LOOK_AFTER),
    ("webhook_PROJECT_DELETED", "checks", Jobs.LOOK_AFTER),
    ("webhook_PROJECT_UPDATED", "checks", "training.jobs.check_approvals"),
    ("webhook_START_TRAINING", "train", "training.jobs.train"),
]


@pytest.mark.parametrize(("name", "queue", "function"), WEBHOOKS)
def test_recorded_webhooks_queue_their_work(backend: Served, name: str, queue: str, function: str) -> None:
    for _ in range(3):
        answer = httpx.post(
            f"{backend.client.base_url}/webhook", json=recorded(name), headers={"X-Drape-Secret": "hook"}
        )
        assert answer.status_code == 201
        assert backend.service.inbox.wait_until_empty(timeout_s=10)
    jobs = Queue(queue, connection=backend.service.connections.queues.redis).jobs
    # Tasks that are shared out again wait already; what else is queued waits once.
    assert [job.func_name for job in jobs] == [function] * (3 if function == Jobs.SHARE_OUT else 1)


@pytest.mark.parametrize(
    "name", ["webhook_PROJECT_CREATED", "webhook_LABEL_LINK_UPDATED", "webhook_LABEL_LINK_DELETED"]
)
def test_recorded_webhooks_that_call_for_nothing_are_taken(client: httpx.Client, name: str) -> None:
    answer = client.post("/webhook", json=recorded(name))
    assert (answer.status_code, answer.json()) == (201, {"queued": "ignored"})


def test_an_event_that_names_no_project_has_all_looked_after_once(backend: Served) -> None:
    # From a webhook that sends no payload; all tasks of a project; a project; and one that a later release may send.
    events = [
        ({"action": "ANNOTATION_UPDATED"}, "look"),
        ({"action": "TASKS_DELETED", "tasks": [{"id": 1}]}, "look"),
        ({"action": "PROJECT_DELETED", "project": {"id": 3}}, "look"),
        ({"action": "REVIEW_CREATED"}, "ignored"),
    ]
    for event, work in events:
        answer = backend.client.post("/webhook", json=event)
        assert (answer.status_code, answer.json()) == (201, {"queued": work})
    assert backend.service.inbox.wait_until_empty(timeout_s=10)
    (job,) = Queue("checks", connection=backend.service.connections.queues.redis).jobs
    assert (job.func_name, job.args) == (Jobs.LOOK_AFTER, ())


def test_what_the_service_accepted_itself_is_not_counted(backend: Served) -> None:
    event = recorded("webhook_ANNOTATION_CREATED")
    regions = [region for region in event["annotation"]["result"] if region["type"] != "textarea"]
    event["annotation"] |= {"result": accepted_regions(regions, "yolo11n-seg-v1-abcdef"), "lead_time": None}
    url, headers = f"{backend.client.base_url}/webhook", {"X-Drape-Secret": "hook"}
    assert httpx.post(url, json=event, headers=headers).json() == {"queued": "ignored"}
    # A person saves it as it is.
    event |= {"action": "ANNOTATION_UPDATED"}
    event["annotation"]["lead_time"] = 2.0
    assert httpx.post(url, json=event, headers=headers).json() == {"queued": "check"}


def test_status_tells_of_jobs_that_are_of_no_project(backend: Served) -> None:
    queue = Queue("checks", connection=backend.service.connections.queues.redis)
    job = queue.enqueue("backend.timer.look_after")
    assert queue.pop_job_id() == job.id
    with queue.connection.pipeline() as pipeline:
        execution = Execution.create(job, ttl=60, pipeline=pipeline)
        queue.started_job_registry.add_execution(execution, pipeline=pipeline, ttl=60)
        pipeline.execute()
    (running,) = backend.client.get("/status").json()["queues"]["running"]
    assert (running["id"], running["project"]) == (job.id, None)
    assert backend.client.get("/", headers={"Accept": "text/html"}).status_code == 200


def test_a_webhook_without_the_secret_is_refused(client: httpx.Client) -> None:
    url, body = f"{client.base_url}/webhook", recorded("webhook_START_TRAINING")
    assert httpx.post(url, json=body).status_code == 401
    wrong = httpx.post(url, json=body, headers={"X-Drape-Secret": "wrong"})
    assert wrong.status_code == 401


def test_a_batch_goes_on_past_images_that_cannot_be_read(
    backend: Served, files: tuple[str, Path], starter: Path
) -> None:
    service, client = backend.service, backend.client
    version = add_starter(service.connections.registry, 1, starter)
    service.connections.registry.promote(1, version.name)
    figure = draw_figure(3)
    Pillow.fromarray(figure.pixels).save(files[1] / "good.png")
    (files[1] / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    names = ["good.png", "broken.jpg", "missing.jpg", "good.png"]
    tasks = [{"id": number, "data": {"image": f"/{name}"}} for number, name in enumerate(names)]
    body = {"tasks": tasks, "project": "1.17", "label_config": palette(GARMENTS), "params": {"context": None}}
    results = client.post("/predict", json=body).json()["results"]
    assert [bool(result) for result in results] == [True, False, False, True]
    assert results[0]["model_version"] == version.name
    masks, _ = decode(results[0]["result"])
    assert any(iou(mask.mask, instance.mask) > 0.5 for mask in masks for instance in figure.instances)
    texts = " ".join(problem["text"] for problem in client.get("/status").json()["problems"])
    assert "broken.jpg" in texts
    assert "missing.jpg" in texts


def test_redis_away_is_said_and_clicks_go_on(client_without_redis: httpx.Client, files: tuple[str, Path]) -> None:
    client = client_without_redis
    assert client.post("/webhook", json=recorded("webhook_START_TRAINING")).json() == {"queued": "train"}
    request = recorded("predict_one_click")
    put_image(request, files[1])
    assert client.post("/predict", json=request).json()["results"][0]["result"]
    status = client.get("/status").json()
    assert "Redis" in status["queues"]["error"]
    (told,) = status["problems"]
    assert told["text"].startswith("Redis does not answer") and "is queued once it does" in told["text"]


def test_what_does_not_fit_the_deadline_is_empty_now_and_queued(
    settings: Settings, files: tuple[str, Path], starter: Path
) -> None:
    hurried = settings.model_copy(update={"predict_deadline_s": 1e-6})
    Pillow.fromarray(draw_figure(3).pixels).save(files[1] / "good.png")
    tasks = [{"id": number, "data": {"image": "/good.png"}} for number in range(5)]
    body = {"tasks": tasks, "project": "1.17", "label_config": palette(GARMENTS), "params": {"context": None}}
    with served(hurried) as running:
        version = add_starter(running.service.connections.registry, 1, starter)
        running.service.connections.registry.promote(1, version.name)
        results = running.client.post("/predict", json=body).json()["results"]
        assert [bool(result) for result in results] == [True] + [False] * 4
        (job,) = Queue("prelabel", connection=running.service.connections.queues.redis).jobs
        assert job.args == (1, version.name, [task["id"] for task in tasks[1:]])


def test_backends_that_are_asked_in_turn_change_their_model_within_seconds(
    settings: Settings, files: tuple[str, Path], starter: Path, bucket: str, tmp_path: Path
) -> None:
    """Two machines behind one Label Studio, over a bucket: no request is lost while the model is changed on one."""
    Pillow.fromarray(draw_figure(3).pixels).save(files[1] / "good.png")
    tasks = [{"id": 1, "data": {"image": "/good.png"}}]
    body = {"tasks": tasks, "project": "1.17", "label_config": palette(GARMENTS), "params": {"context": None}}
    machines = [settings.model_copy(update={"data_dir": tmp_path / name, "storage_url": bucket}) for name in "ab"]
    with served(machines[0]) as one, served(machines[1]) as other:
        versions = [add_starter(one.service.connections.registry, 1, starter).name for _ in range(2)]
        for version in versions:
            one.service.connections.registry.promote(1, version)
            answered = list[str]()
            deadline = time.monotonic() + 60
            while answered[-2:] != [version] * 2 and time.monotonic() < deadline:
                for running in (one, other):
                    answer = running.client.post("/predict", json=body)
                    assert answer.status_code == 200, answer.text
                    (result,) = answer.json()["results"]
                    answered.append(result["model_version"] if result else "")
            assert answered[-2:] == [version] * 2 and set(answered) <= {"", *versions}
        # Once there was one, there was always one that answered.
        assert "" not in answered
