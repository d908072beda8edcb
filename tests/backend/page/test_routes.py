"""The page over real HTTP, with a real Redis and a real registry."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from rq import Queue

from backend.registry.records import write_text
from backend.registry.registry import Version
from backend.settings import Settings
from tests.backend.conftest import Served, served
from tests.backend.page.test_render import SURVEY
from tests.exported import add_colours
from tests.full_disk import full_disk

pytestmark = pytest.mark.services

PAGE = {"Accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def versions(backend: Served, starter: Path) -> list[Version]:
    """Three versions of project 7, of which the last works."""
    registry, made = backend.service.connections.registry, list[Version]()
    for _ in range(3):
        made.append(
            registry.add(
                7,
                weights=starter,
                classes=("saree",),
                parent=made[-1].name if made else None,
                metrics={},
                annotations={},
                image_size_px=256,
                origin="training",
            )
        )
    registry.promote(7, made[-1].name)
    return made


def champion(backend: Served) -> str:
    current = backend.service.connections.registry.champion(7)
    assert current is not None
    return current.name


def test_browsers_get_the_page_and_others_the_health(client: httpx.Client) -> None:
    page = client.get("/", headers=PAGE)
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/").json() == client.get("/health").json()


def test_the_page_says_what_computes_a_network_of_another_architecture(
    backend: Served, client: httpx.Client, tmp_path: Path
) -> None:
    registry = backend.service.connections.registry
    version = add_colours(registry, 7, tmp_path, classes=("saree", "blouse"))
    registry.promote(7, version.name)
    assert f"{version.name}, openvino-f32 on cpu" in client.get("/", params={"project": 7}, headers=PAGE).text


def test_the_page_is_whole_without_anything_else(client: httpx.Client) -> None:
    page = client.get("/", headers=PAGE).text
    assert "http://" not in page.replace("http://www.w3.org/", "") and "https://" not in page
    for name, kind in (("status.css", "text/css"), ("status.js", "javascript"), ("idiomorph.min.js", "javascript")):
        answer = client.get(f"/assets/{name}")
        assert f"/assets/{name}" in page and answer.status_code == 200 and kind in answer.headers["content-type"]
    for missing in ("status.html.jinja", "%2e%2e", "render.py"):
        assert client.get(f"/assets/{missing}").status_code == 404


def test_it_shows_what_the_workers_have_counted(backend: Served, versions: list[Version]) -> None:
    backend.service.project_status.surveys.remember(7, SURVEY)
    backend.service.project_status.surveys.remember(9, SURVEY)
    page = backend.client.get("/", headers=PAGE).text
    assert "12,408" in page and versions[0].name in page and 'href="/?project=9"' in page
    other = backend.client.get("/", params={"project": 9}, headers=PAGE).text
    assert versions[0].name not in other
    assert backend.client.get("/", params={"project": 4711}, headers=PAGE).status_code == 200


def test_without_redis_it_says_so(settings: Settings) -> None:
    with served(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})) as running:
        assert "Redis does not answer" in running.client.get("/", headers=PAGE).text


def test_a_full_disk_at_a_promotion_is_explained(backend: Served, versions: list[Version]) -> None:
    with full_disk():
        answer = backend.client.post(f"/projects/7/versions/{versions[0].name}/promote")
    assert answer.status_code == 503
    assert re.search(r"models \(MODEL_DIR\) cannot be written to: .* The disk is full", answer.json()["detail"])
    assert champion(backend) == versions[-1].name


def test_buttons_promote_and_roll_back(backend: Served, versions: list[Version]) -> None:
    answer = backend.client.post(f"/projects/7/versions/{versions[0].name}/promote", follow_redirects=True)
    assert champion(backend) == versions[0].name
    assert answer.status_code == 200
    assert backend.client.post("/projects/7/rollback").status_code == 404
    backend.client.post(f"/projects/7/versions/{versions[2].name}/promote")
    assert backend.client.post("/projects/7/rollback").status_code == 303
    assert champion(backend) == versions[1].name
    checks = Queue("checks", connection=backend.service.connections.queues.redis)
    assert "backend.prelabel.jobs.plan" in [job.func_name for job in checks.jobs]


def test_a_button_trains_and_another_ends_it(backend: Served) -> None:
    train = Queue("train", connection=backend.service.connections.queues.redis)
    page = backend.client.post("/projects/7/train", headers=PAGE, follow_redirects=True)
    assert "A training is queued." in page.text and len(train) == 1
    assert backend.service.connections.queues.has_training(7) and not backend.service.connections.queues.has_training(8)
    again = backend.client.post("/projects/7/train", headers=PAGE, follow_redirects=True)
    assert "A training is already queued or running." in again.text and len(train) == 1
    ended = backend.client.post("/projects/7/train/cancel", headers=PAGE, follow_redirects=True)
    assert "The training was stopped" in ended.text and len(train) == 0
    assert not backend.service.connections.queues.has_training(7)


ELSEWHERE = [
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", ELSEWHERE)
def test_other_sites_press_no_buttons(backend: Served, versions: list[Version], headers: dict[str, str]) -> None:
    paths = (
        f"/projects/7/versions/{versions[0].name}/promote",
        "/projects/7/rollback",
        "/projects/7/train",
        "/projects/7/train/cancel",
    )
    for path in paths:
        assert backend.client.post(path, headers=headers).status_code == 403
    assert champion(backend) == versions[2].name
    assert not backend.service.connections.queues.has_training(7)


def test_reports_are_shown_where_they_are(backend: Served, versions: list[Version]) -> None:
    write_text(versions[1], "report.html", "<p>What changed</p>")
    answer = backend.client.get(f"/projects/7/versions/{versions[1].name}/report")
    assert answer.text == "<p>What changed</p>" and "default-src 'none'" in answer.headers["content-security-policy"]
    page = backend.client.get("/", headers=PAGE).text
    assert page.count("/report") == 1
    for missing in (versions[0].name, "..", "%2e%2e%2f7", "yolo11n-seg-v9-abcdef"):
        assert backend.client.get(f"/projects/7/versions/{missing}/report").status_code == 404


def test_only_known_words_are_said(client: httpx.Client) -> None:
    page = client.get("/", params={"said": "Your password is needed"}, headers=PAGE).text
    assert "Your password" not in page


def test_a_project_that_label_studio_no_longer_has_leaves_the_page(backend: Served, versions: list[Version]) -> None:
    status = backend.service.project_status
    status.surveys.remember(8, SURVEY)
    assert "Project 7" in backend.client.get("/?project=7", headers=PAGE).text
    status.gone_projects.remember({7})
    for address in ("/", "/?project=7"):
        page = backend.client.get(address, headers=PAGE).text
        assert "Project 7" not in page and versions[-1].name not in page
        assert SURVEY.title in page
    assert backend.client.get("/status").json()["projects"] == {}
    # It is there again, such as after Label Studio was restored from a backup.
    status.gone_projects.remember(set())
    assert "7" in backend.client.get("/status").json()["projects"]
