"""`drape doctor` checks the backend and how projects use it: connections, webhooks, label configs, images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, Literal

import httpx

from backend.errors import ImageError, LabelConfigError, LabelStudioError, first_line
from backend.images.fetch import ImageStore
from backend.images.task_image import open_image
from backend.label_studio.client import SECRET_HEADER, LabelStudio
from backend.label_studio.label_config import NO_MESSAGE_TAG, LabelConfig, parse_label_config
from backend.label_studio.payloads import Task
from backend.registry.registry import Registry
from backend.segmenters.loader import FAILED
from backend.settings import Settings
from label_studio_config.provision import BACKEND_TITLE
from launcher.doctor.findings import Finding, State, run_check
from launcher.stack.supervisor import port_is_free

CONNECTED = "CO"
ALLOW_PRIVATE_ADDRESSES = (
    "Start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, or give the backend a public "
    "address and connect it with that: `drape connect --url`."
)
START_BACKEND = "Start it: `drape serve`, or `make up`."
# What answers at an address.
Answer = Literal["nothing", "another program", "backend that refuses", "backend without segmenter", "backend"]


def connected_projects(settings: Settings) -> tuple[tuple[int, ...], list[Finding]]:
    """Ids of the projects that have our webhook, or a model and still exist; a finding reports if there are none."""
    label_studio = LabelStudio(settings)
    project_ids: set[int] = set()

    def check() -> Iterator[Finding]:
        project_ids.update(label_studio.projects_with_webhook(settings.webhook_secret))
        project_ids.update(label_studio.project_ids().intersection(Registry.of(settings).project_ids()))
        if not project_ids:
            message = "No project of Label Studio has a webhook with WEBHOOK_SECRET."
            yield Finding("projects", "warning", message, "Connect one: `drape connect --project ID`.")

    findings = run_check("projects", check, remedy="Read Label Studio's log.")
    return tuple(sorted(project_ids)), findings


def check_project_settings(settings: Settings) -> list[Finding]:
    """Checks the file of settings for single projects, if there is one."""

    def check() -> Iterator[Finding]:
        if settings.project_settings:
            project_ids = ", ".join(map(str, settings.check_projects())) or "none"
            message = f"Projects with settings of their own in {settings.project_settings}: {project_ids}."
            yield Finding("project settings", "ok", message)

    return run_check("project settings", check, remedy="Correct the file. Each job and request reads it again.")


def check_backend(settings: Settings, reached: Mapping[str, bool]) -> list[Finding]:
    """Checks whether the backend answers, with the credentials, at the addresses that it is connected under.

    Args:
        reached: address → whether Label Studio reaches the backend there; if empty, this machine's address is checked.
    """
    local_url = f"http://127.0.0.1:{settings.port}"
    findings = []
    for url, is_reached in (reached or {local_url: False}).items():
        findings += run_check("backend", partial(_check_address, settings, url, is_reached), remedy=START_BACKEND)
    return findings + run_check("ports", lambda: _check_port(settings, local_url), remedy="Choose another port: PORT=…")


def _check_address(settings: Settings, url: str, reached: bool) -> Iterator[Finding]:
    answer, message = _ask(settings, url)
    state: State = "failed"
    match answer:
        case "nothing" if reached:
            # For example, both run in containers, and this command runs outside of them.
            state, message = "warning", f"{message} Label Studio reaches it."
            remedy = "Run `drape doctor` on the backend's machine or in its container."
        case "nothing":
            remedy = START_BACKEND
        case "backend that refuses":
            remedy = "Run this command with the BASIC_AUTH_USER and BASIC_AUTH_PASS that the backend was started with."
        case "another program":
            remedy = f"Find out which program listens there, or choose another port. {START_BACKEND}"
        case "backend without segmenter":
            remedy = "Its log says why. Check SEGMENTER, SAM3_WEIGHTS and SAM_WEIGHTS."
        case "backend" if not settings.basic_auth_user:
            state, message = "warning", f"{message} It does not ask for credentials."
            remedy = "Set BASIC_AUTH_USER and BASIC_AUTH_PASS, and connect the projects again."
        case "backend":
            state, remedy = "ok", ""
    yield Finding("backend", state, message, remedy)


def _ask(settings: Settings, url: str) -> tuple[Answer, str]:
    """Sends `GET /health` to the address; returns what answers there, and a sentence about it."""
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/health",
            auth=(settings.basic_auth_user, settings.basic_auth_pass),
            timeout=settings.label_studio_timeout_s,
        )
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            return "backend that refuses", f"The backend at {url} refuses the credentials."
        health = answer.json()
        if answer.is_success and health["model_class"] == "GarmentModel":
            kind: Answer = "backend without segmenter" if health["segmenter"] == FAILED else "backend"
            return kind, f"It answers at {url}. Segmenter: {health['segmenter']}."
    except (httpx.HTTPError, httpx.InvalidURL) as e:
        return "nothing", f"It does not answer at {url} from this machine ({type(e).__name__})."
    except (ValueError, KeyError, TypeError):
        return "another program", f"The program that answers at {url} is not Drape's backend."
    return "another program", f"The program that answers at {url} is not Drape's backend ({answer.status_code})."


def _check_port(settings: Settings, local_url: str) -> Iterator[Finding]:
    if port_is_free(settings.port):
        yield Finding("ports", "ok", f"Port {settings.port} (PORT) is free on this machine: no backend runs on it.")
        return
    answer, _ = _ask(settings, local_url)
    if answer in ("nothing", "another program"):
        message = f"Port {settings.port} (PORT) of this machine is in use by another program."
        remedy = "End that program, or choose another port (PORT=…) and connect the projects again."
        yield Finding("ports", "failed", message, remedy)
    else:
        yield Finding("ports", "ok", f"The backend listens on port {settings.port} (PORT) of this machine.")


def check_project(settings: Settings, project_id: int, backends: dict[str, bool]) -> list[Finding]:
    """Checks a project's connection, webhook, label config and images.

    Args:
        backends: receives the address that the backend is connected under → whether Label Studio reaches it there.
    """
    name = f"project {project_id}"
    label_studio = LabelStudio(settings)
    connect = f"Connect it: `drape connect --project {project_id}`."

    def check() -> Iterator[Finding]:
        project = label_studio.project(project_id)
        url = f"http://127.0.0.1:{settings.port}"
        connection = _connection(label_studio, project_id)
        if connection is not None:
            url = str(connection.url).rstrip("/")
            backends[url] = backends.get(url, False) or connection.state == CONNECTED
        yield _check_address_filter(label_studio, project_id, url)
        yield _check_connection(name, connection, settings, connect)
        yield _check_webhook(name, label_studio, settings, project_id, f"{url}/webhook", connect)
        try:
            config = parse_label_config(project.label_config)
        except LabelConfigError as e:
            message = f"The backend cannot work with its label config: {e}"
            remedy = f"Change it in the project's settings, or `drape connect --project {project_id} --palette …`."
            yield Finding(f"{name}: labels", "failed", message, remedy)
            return
        yield Finding(f"{name}: labels", "ok", f"{len(config.labels)} labels.")
        yield _check_message_tag(name, config, connect)
        yield _check_image(name, label_studio, settings, project_id, config)

    return run_check(name, check, remedy="Check the number: it is part of the address of the project's page.")


def _connection(label_studio: LabelStudio, project_id: int) -> Any | None:
    """The project's connection to our backend; Label Studio checks the health of each connection as it lists them."""
    with label_studio.api() as sdk:
        connections = sdk.ml.list(project=project_id)
    return next((connection for connection in connections if connection.title == BACKEND_TITLE), None)


def _check_connection(name: str, connection: Any | None, settings: Settings, connect: str) -> Finding:
    name = f"{name}: backend"
    if connection is None:
        return Finding(name, "failed", f"It has no ML backend '{BACKEND_TITLE}'.", connect)
    if connection.state != CONNECTED:
        reason = first_line(Exception(connection.error_message or "no reason given"))[:200]
        remedy = f"Start the backend, with the same credentials, where Label Studio reaches it. {connect}"
        if "reserved network address" in reason:
            remedy = ALLOW_PRIVATE_ADDRESSES
        return Finding(name, "failed", f"Label Studio does not reach it at {connection.url}: {reason}", remedy)
    if not connection.is_interactive:
        return Finding(name, "failed", "It is not interactive: Label Studio sends no clicks to the backend.", connect)
    if (connection.basic_auth_user or "") != settings.basic_auth_user:
        return Finding(name, "failed", "Label Studio logs in with another user than BASIC_AUTH_USER.", connect)
    return Finding(name, "ok", f"Label Studio reaches it at {connection.url}, and it is interactive.")


def _check_webhook(
    name: str, label_studio: LabelStudio, settings: Settings, project_id: int, url: str, connect: str
) -> Finding:
    name = f"{name}: webhook"
    secret = settings.webhook_secret
    with label_studio.api() as sdk:
        hooks = [
            hook
            for hook in sdk.webhooks.list(project=project_id)
            if hook.url == url or (secret and (hook.headers or {}).get(SECRET_HEADER) == secret)
        ]
    if not hooks:
        message = f"It has no webhook to {url}: only the timer finds new labels and images."
        return Finding(name, "failed", message, connect)
    if len(hooks) > 1:
        message = f"It has {len(hooks)} webhooks to the backend: Label Studio sends every event more than once."
        return Finding(name, "failed", message, f"{connect} Delete the other webhooks in the project's settings.")
    hook = hooks[0]
    needs_secret = bool(secret or settings.basic_auth_user)
    if needs_secret and not (secret and (hook.headers or {}).get(SECRET_HEADER) == secret):
        message = f"Its header {SECRET_HEADER} is not WEBHOOK_SECRET: the backend refuses its events."
        return Finding(name, "failed", message, connect if secret else f"Set WEBHOOK_SECRET. {connect}")
    if hook.url != url:
        return Finding(name, "failed", f"Its address is {hook.url}, but the backend is connected as {url}.", connect)
    if not (hook.is_active and hook.send_payload and hook.send_for_all_actions):
        message = "It is switched off, or does not send all events with their payload."
        return Finding(name, "failed", message, connect)
    return Finding(name, "ok", f"One webhook, to {url}, with the right secret.")


def _check_address_filter(label_studio: LabelStudio, project_id: int, url: str) -> Finding:
    """Checks whether Label Studio's filter of private addresses lets the backend's address through.

    The requests are invalid, so that Label Studio stores nothing. It checks the address first, and answers 403 if it
    blocks the address; otherwise it answers 400, because one value has the wrong type.
    """
    invalid = {"id": "none"}
    probes = {
        "ML backends": ("/api/ml/", {"url": url, "project": project_id, "timeout": invalid}),
        "webhooks": ("/api/webhooks/", {"url": f"{url}/webhook", "project": project_id, "is_active": invalid}),
    }
    blocked = []
    for kind, (path, body) in probes.items():
        answer = label_studio.send("POST", path, json=body)
        if answer.status_code == HTTPStatus.FORBIDDEN and "reserved network address" in answer.text:
            blocked.append(kind)
        elif answer.status_code != HTTPStatus.BAD_REQUEST:
            raise LabelStudioError(f"Label Studio answers {answer.status_code} to POST {path}.")
    name = f"project {project_id}: addresses"
    if blocked:
        message = f"Label Studio refuses the private address {url} for {' and '.join(blocked)}."
        return Finding(name, "failed", message, ALLOW_PRIVATE_ADDRESSES)
    return Finding(name, "ok", f"Label Studio allows the address {url}.")


def _check_message_tag(name: str, config: LabelConfig, connect: str) -> Finding:
    name = f"{name}: messages"
    if config.has_message_tag:
        return Finding(name, "ok", "Annotators read in the page why a click is not answered.")
    return Finding(name, "warning", NO_MESSAGE_TAG, f"{connect} That adds it.")


def _check_image(
    name: str, label_studio: LabelStudio, settings: Settings, project_id: int, config: LabelConfig
) -> Finding:
    name = f"{name}: images"
    tasks = label_studio.sample_tasks(project_id, count=1, runs=1)
    if not tasks:
        return Finding(name, "warning", "It has no task yet.", "Import some, or synchronise its storage.")
    task = Task.model_validate(tasks[0])
    try:
        width, height = open_image(ImageStore(settings, bearer=label_studio.bearer), task, config).size_wh
    except ImageError as e:
        remedy = (
            "Open the task in Label Studio. If its page shows the image, Drape alone cannot read it: change what this "
            "message names. If it does not, check the project's storage in Label Studio."
        )
        return Finding(name, "failed", f"Task {task.id}: {e}", remedy)
    return Finding(name, "ok", f"The image of task {task.id} can be read: {width} x {height} pixels.")
