"""Provisioning against a real Label Studio, with a backend that answers what Label Studio asks while connecting."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from backend.domain import LabelledMask, Outlining
from backend.errors import LabelConfigError, LabelStudioError
from backend.label_studio.client import SECRET_HEADER, LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.regions.encode import encode
from backend.registry.registry import Registry
from backend.settings import Settings
from label_studio_config import provision
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.palettes import PALETTES, file_of
from label_studio_config.provision import (
    Backend,
    connect_backend,
    ensure_local_files,
    ensure_project,
    give_starter_model,
    set_label_config,
)
from label_studio_config.uploads import ensure_uploaded
from launcher.stack.stack import linked_images
from launcher.stack.supervisor import free_port
from tests.conftest import Studio

USER, PASSWORD = "label-studio", "a password"


class Answering(BaseHTTPRequestHandler):
    """Answers as a backend does; keeps what it was asked."""

    asked: list[tuple[str, dict[str, str], bytes]]
    begins_after = 0

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.path, dict(self.headers), body))
        if len(self.asked) <= self.begins_after:
            self.send_error(503)
            return
        answer = json.dumps({"status": "UP", "model_class": "GarmentModel", "model_version": "v1"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        logging.getLogger(__name__).debug(format, *args)


@pytest.fixture
def answering() -> Iterator[tuple[Backend, list[tuple[str, dict[str, str], bytes]]]]:
    asked: list[tuple[str, dict[str, str], bytes]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Answering,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield Backend(f"http://127.0.0.1:{server.server_address[1]}", USER, PASSWORD, "a secret"), asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(label_studio: Studio) -> LabelStudio:
    return LabelStudio(Settings(label_studio_url=label_studio.url, label_studio_api_key=label_studio.api_key))


def photograph(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(path)


@pytest.mark.services
def test_set_up_twice_it_is_there_once(
    client: LabelStudio,
    label_studio: Studio,
    answering: tuple[Backend, list[tuple[str, dict[str, str], bytes]]],
    tmp_path: Path,
) -> None:
    backend, asked = answering
    photograph(tmp_path / "photos" / "one.jpg")
    photograph(tmp_path / "photos" / "below" / "two.PNG")
    (tmp_path / "photos" / "notes.txt").write_text("not an image")
    images = linked_images(tmp_path / "photos", label_studio.files)
    seen = []
    for _ in range(2):
        project_id = ensure_project(client, title="Twice", label_config=palette(GARMENTS))
        connect_backend(client, project_id=project_id, backend=backend)
        ensure_local_files(client, project_id=project_id, folder=images)
        seen.append(project_id)
    assert seen[0] == seen[1]
    sdk = client.sdk
    assert sdk.projects.get(project_id).sampling == "Uncertainty sampling"
    (storage,) = sdk.import_storage.local.list(project=project_id)
    (connected,) = sdk.ml.list(project=project_id)
    assert (connected.url, connected.is_interactive, connected.auth_method) == (backend.url, True, "BASIC_AUTH")
    (hook,) = sdk.webhooks.list(project=project_id)
    assert (hook.url, hook.headers) == (f"{backend.url}/webhook", {SECRET_HEADER: "a secret"})
    assert hook.send_for_all_actions and hook.send_payload and hook.is_active
    tasks = list(sdk.tasks.list(project=project_id, fields="all"))
    assert len(tasks) == 2, storage

    # It presents the password to the backend, and the secret with its events.
    header = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    setups = [headers for path, headers, _ in asked if path == "/setup"]
    assert setups and all(headers.get("Authorization") == header for headers in setups)
    events = [(headers, json.loads(body)) for path, headers, body in asked if path == "/webhook"]
    created = [event for _, event in events if event["action"] == "TASKS_CREATED"]
    assert {task["id"] for event in created for task in event["tasks"]} == {task.id for task in tasks}
    assert all(headers.get(SECRET_HEADER) == "a secret" for headers, _ in events)

    # The images are served, from below the link, to those who may see them only.
    address = label_studio.url + str(tasks[0].data["image"]).removeprefix(label_studio.url)
    assert httpx.get(address, headers={"Authorization": client.bearer()}).headers["Content-Type"].startswith("image/")
    assert httpx.get(address).status_code == 401


@pytest.mark.services
def test_a_backend_that_moved_to_another_port_takes_its_webhook_along(
    client: LabelStudio, answering: tuple[Backend, list[tuple[str, dict[str, str], bytes]]]
) -> None:
    backend, _ = answering
    project_id = ensure_project(client, title="Moved", label_config=palette(GARMENTS))
    connect_backend(client, project_id=project_id, backend=backend)
    moved = Backend(backend.url.replace("127.0.0.1", "localhost"), USER, PASSWORD, "another secret")
    connect_backend(client, project_id=project_id, backend=moved)
    assert [one.url for one in client.sdk.ml.list(project=project_id)] == [moved.url]
    hooks = [(hook.url, hook.headers) for hook in client.sdk.webhooks.list(project=project_id)]
    assert hooks == [(f"{moved.url}/webhook", {SECRET_HEADER: "another secret"})]


@pytest.mark.services
def test_the_labels_of_a_project_that_is_there_are_left_alone(
    client: LabelStudio, caplog: pytest.LogCaptureFixture
) -> None:
    project_id = ensure_project(client, title="Labels", label_config=palette(["coat"]))
    assert ensure_project(client, title="Labels", label_config=palette(["hat"])) == project_id
    assert "coat" in (client.sdk.projects.get(project_id).label_config or "")
    assert "keeps its own labels" in caplog.text


@pytest.mark.services
def test_what_cannot_be_connected_is_said_in_words(
    client: LabelStudio,
    label_studio: Studio,
    answering: tuple[Backend, list[tuple[str, dict[str, str], bytes]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(provision, "RETRY_WAIT_S", 0.01)
    backend, _ = answering
    with_text = '<View><Text name="t" value="$t"/><Choices name="c" toName="t"><Choice value="x"/></Choices></View>'
    project_id = ensure_project(client, title="Words", label_config=with_text)
    with pytest.raises(LabelConfigError, match="Image"):
        connect_backend(client, project_id=project_id, backend=backend)
    garments = ensure_project(client, title="Away", label_config=palette(GARMENTS))
    away = Backend(f"http://127.0.0.1:{free_port()}", USER, PASSWORD, "a secret")
    with pytest.raises(LabelStudioError, match="does not reach the backend"):
        connect_backend(client, project_id=garments, backend=away)
    stranger = LabelStudio(Settings(label_studio_url=label_studio.url, label_studio_api_key="not-a-token"))
    with pytest.raises(LabelStudioError, match="refuses the API key"):
        connect_backend(stranger, project_id=garments, backend=backend)
    with pytest.raises(LabelStudioError, match="404"):
        connect_backend(client, project_id=99_999, backend=backend)


@pytest.mark.services
def test_a_backend_that_has_just_started_is_asked_again(
    client: LabelStudio,
    answering: tuple[Backend, list[tuple[str, dict[str, str], bytes]]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend, asked = answering
    monkeypatch.setattr(Answering, "begins_after", 2)
    monkeypatch.setattr(provision, "RETRY_WAIT_S", 0.1)
    garments = ensure_project(client, title="Late", label_config=palette(GARMENTS))
    connect_backend(client, project_id=garments, backend=backend)
    assert [one.url for one in client.sdk.ml.list(project=garments)] == [backend.url]
    assert len(asked) > 2 and "does not reach the backend" in caplog.text


@pytest.mark.services
def test_images_are_uploaded_once(client: LabelStudio, tmp_path: Path) -> None:
    project_id = ensure_project(client, title="Uploads", label_config=palette(GARMENTS))
    # Label Studio would give the first two one name, and the next two.
    for name in ("a saree (1).jpg", "a_saree_1.jpg", "सूट.jpg", "सेट.jpg", "below/a.jpg", "a.jpg", "drapé.png"):
        photograph(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")

    def upload() -> int:
        return ensure_uploaded(client, project_id=project_id, folder=tmp_path)

    assert upload() == 7
    photograph(tmp_path / "later.webp")
    assert upload() == 1
    tasks = list(client.sdk.tasks.list(project=project_id, fields="all"))
    assert len(tasks) == len({task.data["image"] for task in tasks}) == 8
    assert all(str(task.data["image"]).startswith("/data/upload/") for task in tasks)


def test_the_demo_project_gets_the_starter_once(tmp_path: Path, starter: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    give_starter_model(7, settings)
    give_starter_model(7, settings)
    (version,) = Registry(settings.models_path).versions(7)
    assert version.origin == "starter" and set(version.classes) >= set(GARMENTS)
    assert Registry(settings.models_path).champion(7) == version


@pytest.mark.services
def test_a_project_is_given_a_palette_and_keeps_labels_that_are_in_use(client: LabelStudio) -> None:
    project_id = ensure_project(client, title="Palettes", label_config=palette(("saree", "blouse")))
    set_label_config(client, project_id=project_id, label_config=file_of("fashionpedia").read_text())
    config = parse_label_config(client.project(project_id).label_config)
    assert config.label_values == tuple(label.value for label in PALETTES["fashionpedia"])
    with pytest.raises(LabelConfigError):
        set_label_config(client, project_id=project_id, label_config="<View/>")
    task = client.sdk.tasks.create(project=project_id, data={"image": "/a.jpg"})
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:25] = True
    result = encode(LabelledMask(mask, "tights"), config, outlining=Outlining(), model_version="person")
    client.sdk.annotations.create(int(task.id or 0), result=result)
    # What is drawn already would have no label any more.
    with pytest.raises(LabelConfigError, match="lacks: tights"):
        set_label_config(client, project_id=project_id, label_config=palette(("saree",)))
    set_label_config(client, project_id=project_id, label_config=palette(("saree", "tights")))
    assert parse_label_config(client.project(project_id).label_config).label_values == ("saree", "tights")
