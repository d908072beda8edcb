"""Every event that a stock Label Studio sends, to the service."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.domain import Prediction
from backend.label_studio.client import LabelStudio
from backend.settings import Settings
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import ensure_project
from tests.backend.conftest import SECRET, Served
from tests.conftest import Studio
from tests.projects import project_of_figures

pytestmark = pytest.mark.services


@contextmanager
def recorder() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Address of a server that keeps the body of each request, and the bodies so far."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/webhook", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# Label Studio 1.23.2 fails to send it, and answers 500 to who creates a label link while a webhook wants to know.
NEVER_SENT = "LABEL_LINK_CREATED"


def cause_every_event(client: LabelStudio, folder: Path, link: int) -> None:
    """Does in a new project what makes Label Studio send each of its actions at least once."""
    project = project_of_figures(client, folder, range(700, 706), title="every event")
    sdk = client.sdk
    tasks = client.task_ids(project)

    def act(action: str, included: list[int], **others: Any) -> None:
        body = {"selectedItems": {"all": False, "included": included}, **others}
        send(client, "POST", f"/api/dm/actions?id={action}&project={project}", json=body)

    send(client, "PATCH", f"/api/projects/{project}/", json={"label_config": palette([*GARMENTS, "stole"])})
    send(client, "PATCH", f"/api/label_links/{link}/", json={"from_name": "garment"})
    send(client, "DELETE", f"/api/label_links/{link}/")
    client.write_predictions(project, [(task, Prediction(model_version="v")) for task in tasks[:3]])
    act("predictions_to_annotations", tasks[:2], model_version="v")
    made = sdk.annotations.create(tasks[2], result=[])
    sdk.annotations.update(int(made.id or 0), ground_truth=True)
    client.delete_annotation(int(made.id or 0))
    act("delete_tasks_annotations", tasks[:1])
    act("delete_tasks", tasks[:1])
    send(client, "DELETE", f"/api/tasks/{tasks[1]}/")
    # Says nothing about the project.
    send(client, "DELETE", f"/api/projects/{project}/tasks/")
    sdk.projects.delete(project)


def label_link(client: LabelStudio, project: int) -> int:
    """Id of a new link of the project to one of the organization's labels."""
    label = {"project": project, "from_name": "garment", "title": "saree", "value": ["saree"]}
    send(client, "POST", "/api/labels/", json=[label])
    return int(send(client, "GET", f"/api/label_links/?project={project}")["results"][0]["id"])


def organization_hooks(client: LabelStudio, label_studio: Studio, project: int, url: str) -> list[int]:
    """Ids of two webhooks that get the events of all projects; the second gets nothing but the action's name.

    Label Studio's API makes no such webhooks any more, but sends to those that an earlier release made.
    """
    bodies = [{"url": url, "project": project, "send_payload": full} for full in (True, False)]
    hooks = [int(send(client, "POST", "/api/webhooks/", json=body)["id"]) for body in bodies]
    database = label_studio.files.parent / "data" / "label_studio.sqlite3"
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.executemany("UPDATE webhook SET project_id = NULL WHERE id = ?", [(hook,) for hook in hooks])
    return hooks


def send(client: LabelStudio, method: str, path: str, **content: Any) -> Any:
    answer = client.send(method, path, **content)
    assert answer.is_success, (method, path, answer.text)
    return answer.json() if answer.content else None


def test_every_action_of_label_studio_is_taken(backend: Served, label_studio: Studio) -> None:
    client = LabelStudio(Settings(label_studio_url=label_studio.url, label_studio_api_key=label_studio.api_key))
    with recorder() as (url, bodies):
        project = ensure_project(client, title="of the webhooks", label_config=palette(GARMENTS))
        link = label_link(client, project)
        hooks = organization_hooks(client, label_studio, project, url)
        try:
            cause_every_event(client, label_studio.files / "every-event", link)
        finally:
            for hook in hooks:
                send(client, "DELETE", f"/api/webhooks/{hook}/")
    assert {body["action"] for body in bodies} == set(send(client, "GET", "/api/webhooks/info/")) - {NEVER_SENT}
    for body in bodies:
        answer = httpx.post(f"{backend.client.base_url}/webhook", json=body, headers={"X-Drape-Secret": SECRET})
        assert answer.status_code == 201, (body, answer.text)
