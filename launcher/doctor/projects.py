"""`drape doctor` checks the backend and how projects use it: connections, webhooks, label configs, images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

import httpx

from backend.errors import ImageError, LabelConfigError, LabelStudioError, first_line
from backend.images.fetch import ImageStore
from backend.images.task_image import open_image
from backend.label_studio.client import SECRET_HEADER, LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.payloads import Task
from backend.registry.registry import Registry
from backend.settings import Settings
from label_studio_config.provision import BACKEND_TITLE
from launcher.doctor.findings import Finding, looked
from launcher.stack.supervisor import port_is_free

CONNECTED = "CO"
LET_PRIVATE_IN = (
    "Start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, or give the backend a public "
    "address and connect it under that: `drape connect --url`."
)
START_BACKEND = "Start it: `drape serve`, or `make up`."


def connected_projects(settings: Settings) -> tuple[tuple[int, ...], list[Finding]]:
    """Ids of the projects that have our webhook, or a model and still exist; a finding reports if there are none."""
    label_studio = LabelStudio(settings)
    chosen: set[int] = set()

    def look() -> Iterator[Finding]:
        chosen.update(label_studio.projects_with_webhook(settings.webhook_secret))
        sdk = label_studio.sdk
        with label_studio.said_plainly():
            there = {int(project.id) for project in sdk.projects.list(include="id")}
        chosen.update(there.intersection(Registry.of(settings).project_ids()))
        if not chosen:
            yield Finding(
                "projects",
                "warning",
                "No project of Label Studio has a webhook with WEBHOOK_SECRET.",
                "Connect one: `drape connect --project ID`.",
            )

    said = looked("projects", look, remedy="Look at Label Studio's log.")
    return tuple(sorted(chosen)), said


def look_at_project_settings(settings: Settings) -> list[Finding]:
    """Checks the file of settings for single projects, if there is one."""

    def look() -> Iterator[Finding]:
        if settings.project_settings:
            numbers = ", ".join(map(str, settings.check_projects())) or "none"
            said = f"Projects with settings of their own in {settings.project_settings}: {numbers}."
            yield Finding("project settings", "ok", said)

    return looked("project settings", look, remedy="Correct the file: each job and request reads it anew.")


def look_at_backend(settings: Settings, reached: Mapping[str, bool]) -> list[Finding]:
    """Checks whether the backend answers, with the credentials, at the addresses that it is connected under.

    Args:
        reached: address → whether Label Studio reaches the backend there; if empty, this machine's address is checked.
    """
    own = f"http://127.0.0.1:{settings.port}"
    found = [
        one
        for url, is_reached in (reached or {own: False}).items()
        for one in looked("backend", partial(_backend, settings, url, is_reached), remedy=START_BACKEND)
    ]
    return found + looked("ports", lambda: _port(settings, own), remedy="Choose another port: PORT=…")


def _backend(settings: Settings, url: str, reached: bool) -> Iterator[Finding]:
    health, said = _health(settings, url)
    if health is None and reached:
        # For example, both run in containers, and this command runs outside of them.
        yield Finding("backend", "warning", f"{said[:-1]}; Label Studio reaches it.", "Run `drape doctor` beside it.")
    elif health is None:
        yield Finding("backend", "failed", said, START_BACKEND)
    elif health == HTTPStatus.UNAUTHORIZED:
        yield Finding(
            "backend",
            "failed",
            said,
            "Give this command the BASIC_AUTH_USER and BASIC_AUTH_PASS that the backend was started with.",
        )
    elif health != HTTPStatus.OK:
        yield Finding(
            "backend", "failed", said, f"Look for what listens there, or choose another port. {START_BACKEND}"
        )
    elif "failed" in said:
        yield Finding("backend", "failed", said, "Its log says why: look at SEGMENTER, SAM3_WEIGHTS and SAM_WEIGHTS.")
    elif not settings.basic_auth_user:
        yield Finding(
            "backend",
            "warning",
            f"{said} It asks nobody for credentials.",
            "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, and connect the projects again.",
        )
    else:
        yield Finding("backend", "ok", said)


def _health(settings: Settings, url: str) -> tuple[int | None, str]:
    """Returns the status of `GET /health` (0 if another program answers, None if nothing does), and a sentence."""
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/health",
            auth=(settings.basic_auth_user, settings.basic_auth_pass),
            timeout=settings.label_studio_timeout_s,
        )
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            return answer.status_code, f"The backend at {url} refuses the credentials."
        about = answer.json()
        if answer.is_success and about["model_class"] == "GarmentModel":
            return HTTPStatus.OK, f"It answers at {url}; clicks are answered by: {about['segmenter']}."
    except (httpx.HTTPError, httpx.InvalidURL) as e:
        return None, f"It does not answer at {url} ({type(e).__name__}), seen from this machine."
    except (ValueError, KeyError, TypeError):
        return 0, f"What answers at {url} is not Drape's backend."
    return 0, f"What answers at {url} is not Drape's backend ({answer.status_code})."


def _port(settings: Settings, own: str) -> Iterator[Finding]:
    if port_is_free(settings.port):
        yield Finding("ports", "ok", f"Port {settings.port} (PORT) is free on this machine: no backend runs on it.")
        return
    health, _ = _health(settings, own)
    if health in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED):
        yield Finding("ports", "ok", f"The backend listens on port {settings.port} (PORT) of this machine.")
    else:
        yield Finding(
            "ports",
            "failed",
            f"Port {settings.port} (PORT) of this machine is taken by another program.",
            "End that program, or choose another port: PORT=…, and connect the projects again.",
        )


def look_at_project(settings: Settings, project_id: int, backends: dict[str, bool]) -> list[Finding]:
    """Checks a project's connection, webhook, label config and images.

    Args:
        backends: receives the address that the backend is connected under → whether Label Studio reaches it there.
    """
    name = f"project {project_id}"
    label_studio = LabelStudio(settings)
    connect = f"Connect it: `drape connect --project {project_id}`."

    def look() -> Iterator[Finding]:
        project = label_studio.project(project_id)
        url = f"http://127.0.0.1:{settings.port}"
        connection = _connection(label_studio, project_id)
        if connection is not None:
            url = str(connection.url).rstrip("/")
            backends[url] = backends.get(url, False) or connection.state == CONNECTED
        yield from _addresses(label_studio, settings, project_id, url)
        yield _connected(name, connection, settings, connect)
        yield _webhook(name, label_studio, settings, project_id, f"{url}/webhook", connect)
        try:
            config = parse_label_config(project.label_config)
        except LabelConfigError as e:
            yield Finding(
                f"{name}: labels",
                "failed",
                f"Its label config cannot be served: {e}",
                f"Change it in the project's settings, or `drape connect --project {project_id} --palette …`.",
            )
            return
        yield Finding(f"{name}: labels", "ok", f"{len(config.labels)} labels, which the backend can serve.")
        yield from _storage(name, label_studio, settings, project_id, config)

    return looked(name, look, remedy="Look at its number: it stands in the address of the project's page.")


def _connection(label_studio: LabelStudio, project_id: int) -> Any | None:
    """The project's connection to our backend; Label Studio checks the health of each connection as it lists them."""
    sdk = label_studio.sdk
    with label_studio.said_plainly():
        all_of_them = sdk.ml.list(project=project_id)
    return next((one for one in all_of_them if one.title == BACKEND_TITLE), None)


def _connected(name: str, connection: Any | None, settings: Settings, connect: str) -> Finding:
    name = f"{name}: backend"
    if connection is None:
        return Finding(name, "failed", f"No ML backend '{BACKEND_TITLE}' is connected to it.", connect)
    if connection.state != CONNECTED:
        reason = first_line(Exception(connection.error_message or "it does not say why"))[:200]
        remedy = (
            LET_PRIVATE_IN
            if "reserved network address" in reason
            else f"Start the backend where Label Studio reaches it, with the same credentials; then: {connect}"
        )
        return Finding(name, "failed", f"Label Studio does not reach it at {connection.url}: {reason}", remedy)
    if not connection.is_interactive:
        return Finding(name, "failed", "It is not interactive: no click ever reaches the backend.", connect)
    if (connection.basic_auth_user or "") != settings.basic_auth_user:
        return Finding(name, "failed", "Label Studio presents another user than BASIC_AUTH_USER.", connect)
    return Finding(name, "ok", f"Label Studio reaches it at {connection.url}; it is interactive.")


def _webhook(
    name: str, label_studio: LabelStudio, settings: Settings, project_id: int, url: str, connect: str
) -> Finding:
    name = f"{name}: webhook"
    secret = settings.webhook_secret
    sdk = label_studio.sdk
    with label_studio.said_plainly():
        hooks = [
            one
            for one in sdk.webhooks.list(project=project_id)
            if one.url == url or (secret and (one.headers or {}).get(SECRET_HEADER) == secret)
        ]
    if not hooks:
        said = f"It has no webhook to {url}: new labels and images are found by the timer alone."
        return Finding(name, "failed", said, connect)
    if len(hooks) > 1:
        said = f"It has {len(hooks)} webhooks to the backend: every event is sent more than once."
        return Finding(name, "failed", said, f"{connect} Delete any other in the project's settings.")
    hook = hooks[0]
    needs_secret = bool(secret or settings.basic_auth_user)
    if needs_secret and not (secret and (hook.headers or {}).get(SECRET_HEADER) == secret):
        said = f"Its header {SECRET_HEADER} is not WEBHOOK_SECRET: the backend refuses its events."
        return Finding(name, "failed", said, connect if secret else f"Set WEBHOOK_SECRET. {connect}")
    if hook.url != url:
        return Finding(name, "failed", f"It sends to {hook.url}, but the backend is connected as {url}.", connect)
    if not (hook.is_active and hook.send_payload and hook.send_for_all_actions):
        said = "It is switched off, or does not send all events with their payload."
        return Finding(name, "failed", said, connect)
    return Finding(name, "ok", f"One, to {url}, with the right secret.")


def _addresses(label_studio: LabelStudio, settings: Settings, project_id: int, url: str) -> Iterator[Finding]:
    """Checks whether Label Studio's filter of private addresses lets the backend's address through.

    The requests are invalid, so that Label Studio stores nothing. It checks the address first, and answers 403 if it
    blocks the address; otherwise it answers 400, because one value has the wrong type.
    """
    wrong = {"id": "none"}
    probes = {
        "ml": {"url": url, "project": project_id, "timeout": wrong},
        "webhooks": {"url": f"{url}/webhook", "project": project_id, "is_active": wrong},
    }
    blocked = []
    for place, body in probes.items():
        answer = label_studio.send("POST", f"/api/{place}/", json=body)
        if answer.status_code == HTTPStatus.FORBIDDEN and "reserved network address" in answer.text:
            blocked.append({"ml": "ML backends", "webhooks": "webhooks"}[place])
        elif answer.status_code != HTTPStatus.BAD_REQUEST:
            raise LabelStudioError(f"Label Studio answers {answer.status_code} where a backend is connected.")
    name = f"project {project_id}: addresses"
    if blocked:
        said = f"Label Studio refuses the private address {url} for {' and '.join(blocked)}."
        yield Finding(name, "failed", said, LET_PRIVATE_IN)
    else:
        yield Finding(name, "ok", f"Label Studio's filter lets {url} through.")


def _storage(
    name: str, label_studio: LabelStudio, settings: Settings, project_id: int, config: LabelConfig
) -> Iterator[Finding]:
    name = f"{name}: images"
    tasks = label_studio.sample_tasks(project_id, count=1, runs=1)
    if not tasks:
        yield Finding(name, "warning", "It has no task yet.", "Import some, or synchronise its storage.")
        return
    task = Task.model_validate(tasks[0])
    try:
        width, height = open_image(ImageStore(settings, bearer=label_studio.bearer), task, config).size_wh
    except ImageError as e:
        yield Finding(
            name,
            "failed",
            f"Task {task.id}: {e}",
            "Look at the project's storage in Label Studio, and whether its own page shows the image.",
        )
    else:
        yield Finding(name, "ok", f"The image of task {task.id} can be read: {width} x {height} pixels.")
