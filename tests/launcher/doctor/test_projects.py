"""What is wrong with a project is named with its remedy: its connection, webhook, labels, images and addresses."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backend.label_studio.client import LabelStudio
from backend.settings import Settings
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import Backend, connect_backend
from launcher.doctor.findings import State
from launcher.doctor.projects import check_backend, check_project, check_project_settings
from launcher.stack.label_studio_server import studio_answers, studio_program
from launcher.stack.supervisor import Supervisor, free_port
from tests.backend.conftest import USER, image_files, served
from tests.conftest import STUDIO_VENV, Studio
from tests.launcher.doctor.conftest import PASSWORD, SECRET, Flywheel, assert_each_fault_is_found

PRIVATE_ADDRESS_SETTINGS = ("ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED")


def second_webhook(flywheel: Flywheel) -> None:
    sdk = flywheel.label_studio.sdk
    sdk.webhooks.create(project=flywheel.project_id, url=sdk.webhooks.get(flywheel.webhook_id).url)


def webhook_without_secret(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.webhooks.update(flywheel.webhook_id, headers={})


def webhook_switched_off(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.webhooks.update(flywheel.webhook_id, is_active=False)


def no_webhook(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.webhooks.delete(flywheel.webhook_id)


def not_interactive(flywheel: Flywheel) -> None:
    sdk = flywheel.label_studio.sdk
    (one,) = sdk.ml.list(project=flywheel.project_id)
    sdk.ml.update(
        int(one.id or 0),
        project=flywheel.project_id,
        url=one.url,
        is_interactive=False,
        auth_method="BASIC_AUTH",
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
    )


def no_connection(flywheel: Flywheel) -> None:
    sdk = flywheel.label_studio.sdk
    (one,) = sdk.ml.list(project=flywheel.project_id)
    sdk.ml.delete(int(one.id or 0))


def labels_that_no_mask_can_have(flywheel: Flywheel) -> None:
    config = '<View><Text name="t" value="$image"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    flywheel.label_studio.sdk.projects.update(flywheel.project_id, label_config=config)


def no_place_for_messages(flywheel: Flywheel) -> None:
    config = palette(GARMENTS).replace('name="message"', 'name="remark"')
    flywheel.label_studio.sdk.projects.update(flywheel.project_id, label_config=config)


def photograph_deleted(flywheel: Flywheel) -> None:
    shutil.rmtree(flywheel.photographs)


def no_task(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.tasks.delete_all_tasks(flywheel.project_id)


@pytest.mark.services
def test_what_is_wrong_with_a_project_is_named_with_its_remedy(flywheel: Flywheel) -> None:
    backend = Backend(f"http://127.0.0.1:{flywheel.settings.port}", USER, PASSWORD, SECRET)
    connect = "drape connect --project N"
    for case in (
        (second_webhook, "project N: webhook", "failed", "2 webhooks", connect),
        (webhook_without_secret, "project N: webhook", "failed", "is not WEBHOOK_SECRET", connect),
        (webhook_switched_off, "project N: webhook", "failed", "switched off", connect),
        (no_webhook, "project N: webhook", "failed", "no webhook", connect),
        (not_interactive, "project N: backend", "failed", "not interactive", connect),
        (no_connection, "project N: backend", "failed", "no ML backend", connect),
        (no_place_for_messages, "project N: messages", "warning", "the page shows nothing", connect),
        (photograph_deleted, "project N: images", "failed", "figure_000001.jpg", "storage"),
        (no_task, "project N: images", "warning", "no task", "storage"),
        (labels_that_no_mask_can_have, "project N: labels", "failed", "cannot work with its label config", "--palette"),
    ):
        assert_each_fault_is_found([case], flywheel, lambda: check_project(flywheel.settings, flywheel.project_id, {}))
        if connect in case:
            # What the remedy says helps.
            connect_backend(flywheel.label_studio, project_id=flywheel.project_id, backend=backend)
            found = check_project(flywheel.settings, flywheel.project_id, {})
            assert {one.state for one in found} == {"ok"}, found


@pytest.mark.services
def test_a_backend_that_is_gone_is_said_by_label_studio_and_from_here(flywheel: Flywheel) -> None:
    """And a port that another program has taken is told from one that is free."""
    port = free_port()
    gone = flywheel.found(port=port)
    assert gone["ports"].state == "ok" and "free" in gone["ports"].message
    with closing(socket.create_server(("127.0.0.1", port))):
        taken = flywheel.found(port=port, label_studio_timeout_s=1.0)["ports"]
    assert taken.state == "failed" and "another program" in taken.message
    # Connected under an address where nobody listens: Label Studio keeps what it was told before.
    sdk = flywheel.label_studio.sdk
    with served(flywheel.settings) as other:
        url = str(other.client.base_url).rstrip("/")
        connect_backend(
            flywheel.label_studio, project_id=flywheel.project_id, backend=Backend(url, USER, PASSWORD, SECRET)
        )
        assert flywheel.found()[f"project {flywheel.project_id}: backend"].state == "ok"
    found = flywheel.found()
    assert found["backend"].state == "failed" and url in found["backend"].message
    told = found[f"project {flywheel.project_id}: backend"]
    assert told.state == "failed" and "drape connect" in told.remedy
    assert [one.url for one in sdk.ml.list(project=flywheel.project_id)] == [url]


@pytest.mark.services
def test_a_label_studio_that_refuses_private_addresses_is_recognised(
    flywheel: Flywheel, label_studio: Studio, tmp_path: Path
) -> None:
    """The same, started without the two settings that let them through; to ask it stores nothing."""
    known, folder, port = label_studio.files.parent / "data", tmp_path / "studio", free_port()
    folder.mkdir()
    shutil.copy(known / "secret-key", folder)
    # A copy of the database, as a new one takes minutes to make.
    name = "label_studio.sqlite3"
    with closing(sqlite3.connect(known / name)) as source, closing(sqlite3.connect(folder / name)) as target:
        source.backup(target)
    supervisor, url = Supervisor(tmp_path / "logs"), f"http://127.0.0.1:{port}"
    program = studio_program(
        folder, venv=STUDIO_VENV, port=port, password=label_studio.password, files_root=label_studio.files
    )
    kept = {name: value for name, value in program.environment.items() if name not in PRIVATE_ADDRESS_SETTINGS}
    assert len(kept) == len(program.environment) - len(PRIVATE_ADDRESS_SETTINGS)
    supervisor.start(replace(program, environment=kept))
    try:
        supervisor.wait_until(lambda: studio_answers(url), what="Label Studio", timeout_s=240)
        found = flywheel.found(label_studio_url=url)
        one = found[f"project {flywheel.project_id}: addresses"]
        assert one.state == "failed" and "ML backends and webhooks" in one.message
        assert all(name in one.remedy for name in PRIVATE_ADDRESS_SETTINGS)
        sdk = LabelStudio(flywheel.settings.model_copy(update={"label_studio_url": url})).sdk
        for of_project in (sdk.ml.list(project=flywheel.project_id), sdk.webhooks.list(project=flywheel.project_id)):
            assert len(of_project) == 1
    finally:
        supervisor.stop()


@pytest.mark.parametrize(("reached", "state"), [(True, "warning"), (False, "failed")])
def test_a_backend_that_only_label_studio_reaches_is_no_failure(reached: bool, state: State) -> None:
    """As where both are containers, and the doctor is asked from beside them."""
    url = f"http://127.0.0.1:{free_port()}"
    one = check_backend(Settings(port=free_port()), {url: reached})[0]
    assert (one.name, one.state) == ("backend", state) and url in one.message


def test_settings_of_projects_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "projects.yaml"
    settings = Settings(project_settings=str(path))
    assert check_project_settings(Settings()) == []
    path.write_text("projects: {7: {retrain_after: 5}, 9: {max_regions: 3}}")
    (sound,) = check_project_settings(settings)
    assert sound.state == "ok" and "7, 9" in sound.message
    path.write_text("projects: {7: {retrain_after: 0}}")
    (broken,) = check_project_settings(settings)
    assert broken.state == "failed" and "project 7: RETRAIN_AFTER" in broken.message


# the segmenter of the backend, what is found: a model may be named after anything
SEGMENTERS: list[tuple[str, State, str]] = [
    ("failed", "failed", "SAM_WEIGHTS"),
    ("never-failed", "ok", ""),
    ("loading", "ok", ""),
]


@pytest.mark.parametrize(("segmenter", "state", "remedy"), SEGMENTERS)
def test_a_backend_without_a_segmenter_is_told_by_that_and_not_by_a_word(
    tmp_path: Path, segmenter: str, state: State, remedy: str
) -> None:
    (tmp_path / "health").write_text(json.dumps({"model_class": "GarmentModel", "segmenter": segmenter}))
    with image_files(tmp_path) as url:
        settings = Settings(basic_auth_user=USER, basic_auth_pass=PASSWORD, port=free_port())
        found = check_backend(settings, {url: True})[0]
    assert found.state == state and segmenter in found.message
    assert remedy in found.remedy
