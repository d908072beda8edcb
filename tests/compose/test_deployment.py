"""docs/guides/deploy.md, followed on a Docker engine from empty volumes to an upgrade: each test is a step of it."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from label_studio_config.demo.write import write_images
from launcher.stack.supervisor import free_port
from tests.compose.deployment import EMAIL, STARTER, Deployment, commands, wait_for
from tests.compose.engine import docker_engine, refuse_without_docker
from tests.compose.stand_ins import build_stand_ins
from tests.conftest import ARTEFACTS
from tests.e2e.annotator import Annotator, browser_page

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1200)]

RUNNING = ("label-studio", "postgres", "redis", "backend", "worker-prelabel", "worker-train", "timer")
WORKING = tuple(name for name in RUNNING if name not in ("label-studio", "postgres", "redis"))
EVERYTHING = "--profile cpu --profile gpu --profile tls --profile keeping --profile s3"
PROJECT, IMAGES = 1, 6
SIGTERM_STATUS = 143


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A copy of the repository on an engine of its own; at the end nothing of it is left."""
    refuse_without_docker()
    folder = tmp_path_factory.mktemp("deployment") / "drape"
    folder.mkdir()
    with docker_engine() as engine:
        engine.remove_all()
        build_stand_ins(engine)
        deployment = Deployment.copy(engine, folder, project="first")
        yield deployment
        deployment.compose(EVERYTHING, "down --volumes --remove-orphans")
        assert not any(engine.left().values())


@pytest.fixture(scope="module")
def second(here: Deployment) -> Iterator[Deployment]:
    """The same folder with volumes of its own, empty, once the first has gone."""
    here.compose(EVERYTHING, "down")
    deployment = here.elsewhere("second")
    yield deployment
    deployment.compose(EVERYTHING, "down --volumes --remove-orphans")


def test_first_start(here: Deployment) -> None:
    first, second = commands("First start")
    copy, rest = first.split("\n", 1)
    here.shell(copy)
    here.set(
        STUDIO_PORT=here.studio_port,
        BACKEND_PORT=here.backend_port,
        HTTP_PORT=f"127.0.0.1:{free_port()}",
        HTTPS_PORT=f"127.0.0.1:{here.https_port}",
        CPU_INDEX="",
        RETRAIN_AFTER=IMAGES,
        RETRAIN_MIN_IMAGES=IMAGES,
        TRAIN_EPOCHS=1,
        TRAIN_IMAGE_SIZE_PX=160,
        YOLO11_BASE=STARTER,
        BACKEND_MEMORY="3g",
    )
    here.shell(rest)
    here.wait_until_healthy(["label-studio"])
    here.make_token()
    here.make_bucket("models")
    here.shell(second)
    here.wait_until_healthy(RUNNING)


def tasks(here: Deployment) -> list[dict[str, Any]]:
    """The project's tasks, as Label Studio holds them."""
    return here.studio.tasks(PROJECT, here.studio.task_ids(PROJECT))


def address_of(task: dict[str, Any]) -> str:
    """The first two folders of its image's address."""
    return "/".join([*task["data"]["image"].split("/")[:3], ""])


def predicted(here: Deployment) -> int:
    """How many of them have a prediction of the project's model."""
    return here.studio.task_counts(PROJECT, doubtful_below=0.5).predicted


def backup_of(here: Deployment) -> str:
    """Name of the one backup."""
    (file,) = (here.folder / "backups").glob("drape-*.tar.gz")
    return file.name


def test_a_project_is_connected_and_photographs_come_in(here: Deployment) -> None:
    connect, bring = commands("A project")
    here.studio.sdk.projects.create(title="Sarees")
    assert "Connected http://drape.internal:9090 to project 1" in here.shell(connect)
    write_images(here.folder / "photographs" / "shelf", range(900, 900 + IMAGES))
    here.shell(bring)
    assert [address_of(task) for task in tasks(here)] == ["/data/local-files/"] * IMAGES
    for path in write_images(here.folder / "photographs", [950, 951]):
        here.compose("exec backend drape import --project", str(PROJECT), f"/label-studio/files/{path.name}")
    assert [address_of(task) for task in tasks(here)[IMAGES:]] == ["/data/upload/"] * 2


def test_clicks_are_approved_and_train_a_model_that_pre_annotates(here: Deployment) -> None:
    for task in tasks(here)[:IMAGES]:
        regions = here.click(PROJECT, task["id"], label="blouse", x_percent=50, y_percent=45)
        here.studio.sdk.annotations.create(task["id"], result=regions, lead_time=5.0)
    # Label Studio's webhooks count them; the two that nobody annotated are then pre-annotated.
    wait_for(lambda: predicted(here) == 2, what="pre-annotation by the first model", timeout_s=900)
    listed = here.compose("exec backend drape models list --project", str(PROJECT))
    assert "v1" in listed


def test_doctor_finds_nothing_wrong(here: Deployment) -> None:
    found = here.compose("exec backend drape doctor")
    # Of the container's memory, not of the machine's.
    free = re.search(r"cores, ([\d.]+) GB memory free", found)
    assert free and float(free[1]) <= 3.3


def test_more_workers(here: Deployment) -> None:
    (more,) = commands("More workers")
    here.shell(more)
    here.wait_until_healthy(RUNNING)
    assert len(here.containers("worker-prelabel")) == 2


@pytest.mark.parametrize("service", RUNNING)
def test_each_service_may_be_started_again(here: Deployment, service: str) -> None:
    here.compose("restart", service)
    here.wait_until_healthy(RUNNING)
    here.click(PROJECT, tasks(here)[0]["id"], label="blouse", x_percent=50, y_percent=45)


@pytest.mark.parametrize("service", ["redis", "postgres"])
def test_what_holds_data_may_be_killed(here: Deployment, service: str) -> None:
    before = predicted(here)
    (container,) = here.containers(service)
    subprocess.run(["kill", "-9", str(container["State"]["Pid"])], check=True)
    wait_for(lambda: here.containers(service)[0]["RestartCount"] > container["RestartCount"], what="a new start")
    here.wait_until_healthy(RUNNING)
    write_images(here.folder / "photographs" / service, [960 if service == "redis" else 961])
    here.compose("exec backend drape import --project", str(PROJECT), f"/label-studio/files/{service}")
    wait_for(lambda: predicted(here) == before + 1, what="pre-annotation after the kill")


def test_upgrade(here: Deployment) -> None:
    before = {name: here.containers(name)[0]["Image"] for name in RUNNING}
    annotated = here.studio.annotated_task_ids(PROJECT)
    (here.folder / "backend" / "new.py").write_text('"""Of the next version."""\n')
    here.shell(commands("Stop, start, upgrade")[1])
    here.wait_until_healthy(RUNNING)
    for name in RUNNING:
        assert (here.containers(name)[0]["Image"] != before[name]) == (name in WORKING)
    assert len(here.containers("worker-prelabel")) == 1, "an `up` without --scale goes back to one"
    assert here.studio.annotated_task_ids(PROJECT) == annotated
    assert "v1" in here.compose("exec backend drape models list --project", str(PROJECT))


def test_backup_and_restore(here: Deployment) -> None:
    make, _, again = commands("With docker-compose")
    here.shell(make)
    known = tasks(here)
    here.studio.sdk.tasks.delete(known[0]["id"])
    # Refused while anything works on the data, the backend in a container of its own as well.
    here.compose("--profile cpu stop label-studio worker-prelabel worker-train timer")
    with pytest.raises(AssertionError, match="The backend runs"):
        here.shell(again.splitlines()[1].replace("drape-….tar.gz", backup_of(here)))
    here.shell(again.replace("drape-….tar.gz", backup_of(here)))
    here.wait_until_healthy(RUNNING)
    assert [task["id"] for task in tasks(here)] == [task["id"] for task in known]


def test_stop(here: Deployment) -> None:
    here.shell(commands("Stop, start, upgrade")[0].splitlines()[0])
    states = {one["Name"]: one["State"] for one in here.containers()}
    assert {state["Status"] for state in states.values()} == {"exited"}
    # By itself, or by the signal that it was sent: none had to be killed.
    assert {state["ExitCode"] for state in states.values()} <= {0, SIGTERM_STATUS}, states


def test_restore_onto_empty_volumes(second: Deployment) -> None:
    _, elsewhere, _ = commands("With docker-compose")
    origin = f"https://localhost:{second.https_port}"
    # From the bucket into the volume of one machine.
    second.set(LABEL_STUDIO_HOST=origin, LABEL_STUDIO_SECURE_COOKIES=1, STORAGE_URL="")
    second.shell(elsewhere.replace("drape-….tar.gz", backup_of(second)))
    second.wait_until_healthy(RUNNING)
    uploaded = next(task["id"] for task in tasks(second) if address_of(task) == "/data/upload/")
    second.click(PROJECT, uploaded, label="blouse", x_percent=50, y_percent=45)
    assert len(second.studio.annotated_task_ids(PROJECT)) == IMAGES
    assert "v1" in second.compose("exec backend drape models list --project", str(PROJECT))


def test_login_through_tls(second: Deployment, chromium: str) -> None:
    second.shell(commands("TLS")[0])
    show = "docker-compose exec proxy cat /data/caddy/pki/authorities/local/root.crt"
    wait_for(lambda: second.succeeds(show), what="a certificate")
    authority = second.shell(show)
    # Not every system takes names below `localhost` for itself.
    with httpx.Client(verify=ssl.create_default_context(cadata=authority), timeout=30) as client:
        backend = client.get(
            f"https://127.0.0.1:{second.https_port}/",
            headers={"Host": "drape.localhost"},
            extensions={"sni_hostname": "drape.localhost"},
        )
    assert backend.status_code == 401, "the backend asks for its own credentials"
    with browser_page(chromium, any_certificate=True) as page:
        annotator = Annotator(page, f"https://localhost:{second.https_port}", ARTEFACTS / "compose")
        annotator.log_in(EMAIL, second.studio_password)
        assert page.context.cookies() and all(cookie["secure"] for cookie in page.context.cookies())
        annotator.open_task(PROJECT, tasks(second)[-1]["id"])
        annotator.screenshot("task-through-tls")


def test_a_gpu_that_is_not_there_is_said(second: Deployment) -> None:
    """As far as a machine without a GPU goes: everything is made, and Docker says what is missing."""
    second.compose("--profile cpu stop")
    second.compose("--profile gpu up --no-start")
    with pytest.raises(AssertionError, match="could not select device driver"):
        second.compose("--profile gpu start backend-gpu")
