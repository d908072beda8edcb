"""Sets up projects in Label Studio; it is idempotent, so that it can run at every start."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from label_studio_sdk.types import MlBackend
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt, wait_fixed

from backend.detector.starter import STARTER, starter_facts
from backend.errors import LabelConfigError, LabelStudioError
from backend.label_studio.client import SECRET_HEADER, UNCERTAINTY_SAMPLING, LabelStudio
from backend.label_studio.config_xml import with_message_tag
from backend.label_studio.label_config import parse_label_config
from backend.regions.decode import LABEL_KEYS
from backend.registry.registry import Registry
from backend.settings import Settings

logger = logging.getLogger(__name__)

BACKEND_TITLE = "Drape"
STORAGE_TITLE = "Photographs"
IMAGE_FILES = r"(?i).*\.(jpe?g|png|webp|bmp|tiff?)$"
# Label Studio waits one to three seconds for a backend that it connects; one that has just started may need more.
ATTEMPTS, RETRY_WAIT_S = 6, 2.0


@dataclass(frozen=True)
class Backend:
    """The address at which Label Studio reaches the backend, and the secrets between the two."""

    url: str
    user: str
    password: str
    webhook_secret: str


def ensure_project(label_studio: LabelStudio, *, title: str, label_config: str) -> int:
    """Returns the project of that title, created if it is missing; an existing project keeps its label config."""
    with label_studio.api() as sdk:
        for project in sdk.projects.list():
            if project.title == title:
                _warn_if_labels_differ(project.label_config or "", label_config)
                return int(project.id)
        created = sdk.projects.create(title=title, label_config=label_config, sampling=UNCERTAINTY_SAMPLING)
    logger.info("Made the project '%s'", title)
    return int(created.id)


def set_label_config(label_studio: LabelStudio, *, project_id: int, label_config: str) -> None:
    """Gives a project another label config.

    Raises:
        LabelConfigError: the config cannot be served, or annotations hold labels that it neither has nor lists as a
            label's alias or `predicted_values`; the message names these labels.
        LabelStudioError: Label Studio refuses the config.
    """
    config = parse_label_config(label_config)
    missing = sorted(label for label in _labels_in_use(label_studio, project_id) if config.label_for(label) is None)
    if missing:
        raise LabelConfigError(
            f"Annotations hold labels that the new config lacks: {', '.join(missing)}. Keep them, or name each among "
            "the predicted_values of the label that it shall count as."
        )
    with label_studio.api() as sdk:
        sdk.projects.update(project_id, label_config=label_config)


def _labels_in_use(label_studio: LabelStudio, project_id: int) -> set[str]:
    """Returns the labels of the regions in the project's annotations."""
    values = [
        region.get("value") or {}
        for task in label_studio.annotated_tasks(project_id)
        for annotation in task.get("annotations") or []
        for region in annotation.get("result") or []
    ]
    return {str(label) for value in values for key in LABEL_KEYS for label in value.get(key) or []}


def _warn_if_labels_differ(present: str, wanted: str) -> None:
    names = [{label.value for label in parse_label_config(config).labels} for config in (present, wanted)]
    if names[0] != names[1]:
        logger.warning("The project is there already and keeps its own labels; change them in its settings")


def ensure_local_files(label_studio: LabelStudio, *, project_id: int, folder: Path) -> None:
    """Syncs the project's local-files storage over `folder` and below, made if missing: new photographs become tasks.

    `folder` may be a link: its own path, not its target's, must be inside Label Studio's document root.
    """
    path = str(folder.absolute())
    with label_studio.api() as sdk:
        storages = [storage for storage in sdk.import_storage.local.list(project=project_id) if storage.path == path]
        if storages:
            storage_id = storages[0].id
        else:
            storage_id = sdk.import_storage.local.create(
                project=project_id,
                title=STORAGE_TITLE,
                path=path,
                regex_filter=IMAGE_FILES,
                use_blob_urls=True,
                recursive_scan=True,
            ).id
        sdk.import_storage.local.sync(int(storage_id or 0))


def connect_backend(label_studio: LabelStudio, *, project_id: int, backend: Backend) -> None:
    """Connects the backend to the project: interactive, with credentials and exactly one webhook, which has the secret.

    A label config that has no control for messages gets one: without it the page of Label Studio 1.23 shows nothing at
    all when a click is refused.

    Raises:
        LabelConfigError: the project's label config cannot be served, or cannot get a control for messages.
        LabelStudioError: Label Studio refuses; if its address filter is the cause, the message says what to change.
    """
    label_config = label_studio.project(project_id).label_config
    config = parse_label_config(label_config)
    if not config.has_message_tag:
        with label_studio.api() as sdk:
            sdk.projects.update(project_id, label_config=with_message_tag(label_config, image_tag=config.image_tag))
        logger.info("Added a control for messages to the label config of project %s", project_id)
    for attempt in Retrying(
        retry=retry_if_exception_type(_BackendUnreachableError),
        wait=wait_fixed(RETRY_WAIT_S),
        stop=stop_after_attempt(ATTEMPTS),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    ):
        with attempt:
            backends = _connect(label_studio, project_id=project_id, backend=backend)
    urls = {f"{(connected.url or '').rstrip('/')}/webhook" for connected in backends}
    _keep_one_webhook(label_studio, project_id=project_id, backend=backend, earlier=urls)
    logger.info("Connected %s to project %s", backend.url, project_id)


class _BackendUnreachableError(LabelStudioError):
    """The backend did not answer Label Studio within the one to three seconds that Label Studio waits."""


def _connect(label_studio: LabelStudio, *, project_id: int, backend: Backend) -> list[MlBackend]:
    """Connects the backend; returns the backends that were connected before, of which at most one is left."""
    try:
        with label_studio.api() as sdk:
            # A backend that was connected under another address (another port) is ours, too, and gets the new one.
            backends = [
                connected
                for connected in sdk.ml.list(project=project_id)
                if connected.title == BACKEND_TITLE or connected.url == backend.url
            ]
            facts = {
                "is_interactive": True,
                "auth_method": "BASIC_AUTH",
                "basic_auth_user": backend.user,
                "basic_auth_pass": backend.password,
                "title": BACKEND_TITLE,
            }
            if backends:
                sdk.ml.update(int(backends[0].id or 0), project=project_id, url=backend.url, **facts)
            else:
                sdk.ml.create(project=project_id, url=backend.url, **facts)
            for extra in backends[1:]:
                sdk.ml.delete(int(extra.id or 0))
    except LabelStudioError as e:
        raise _explain(e, backend.url) from e
    return backends


def _explain(error: LabelStudioError, url: str) -> LabelStudioError:
    if "reserved network address" in str(error):
        return LabelStudioError(
            f"Label Studio refuses the address {url}, because it is private. Start Label Studio with "
            "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false, or give the backend a public address."
        )
    if "connect to ML backend" in str(error):
        return _BackendUnreachableError(
            f"Label Studio does not reach the backend at {url}. Start it (`drape serve`), or say under which address "
            "Label Studio reaches it (`drape connect --url`, `drape up --backend-url`), with HOST=0.0.0.0 where that "
            "is not this machine's loopback."
        )
    return error


def _keep_one_webhook(label_studio: LabelStudio, *, project_id: int, backend: Backend, earlier: set[str]) -> None:
    # Connecting makes a webhook without headers, and connecting again after a removal leaves the old webhook behind.
    url = f"{backend.url}/webhook"
    headers = {SECRET_HEADER: backend.webhook_secret}
    with label_studio.api() as sdk:
        hooks = [hook for hook in sdk.webhooks.list(project=project_id) if hook.url in {url, *earlier}]
        for extra in hooks[1:]:
            sdk.webhooks.delete(int(extra.id or 0))
        facts = {"headers": headers, "is_active": True, "send_payload": True, "send_for_all_actions": True}
        if hooks:
            sdk.webhooks.update(int(hooks[0].id or 0), url=url, **facts)
        else:
            sdk.webhooks.create(project=project_id, url=url, **facts)


def give_starter_model(project_id: int, settings: Settings) -> None:
    """Gives the demo project the starter as its model, unless the project has one."""
    registry = Registry.of(settings)
    if registry.champion(project_id) is not None:
        return
    facts = starter_facts()
    version = registry.add(
        project_id,
        weights=STARTER,
        classes=facts.classes,
        parent=None,
        metrics=facts.figures,
        annotations={},
        image_size_px=facts.image_size_px,
        origin="starter",
    )
    registry.promote(project_id, version.name)
