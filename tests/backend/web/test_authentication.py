"""Who is let in, by what is set; `test_app.py` asks every route."""

from __future__ import annotations

import re
from base64 import b64encode
from contextlib import nullcontext
from pathlib import Path

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.testclient import TestClient

from backend.app import create_app
from backend.settings import Settings
from backend.web.authentication import LIVE, Unauthorized, check_credentials
from label_studio_config.palette_xml import GARMENTS, palette

BASIC = "Basic " + b64encode(b"user:pass").decode()
MADE_UP = "Basic " + b64encode(b"x:y").decode()
NOBODY = "Basic " + b64encode(b":").decode()

# user that is set, secret that is set, whether it is a webhook, credentials and secret that come, whether they pass
CASES = [
    ("", "", False, None, None, True),
    ("", "", True, None, None, True),
    ("user", "", False, None, None, False),
    ("user", "", False, BASIC, None, True),
    ("user", "", False, MADE_UP, None, False),
    ("user", "", False, NOBODY, None, False),
    ("user", "hook", False, None, "hook", False),
    ("user", "hook", True, None, "hook", True),
    ("user", "hook", True, None, "hooks", False),
    ("user", "hook", True, None, "", False),
    ("user", "hook", True, BASIC, "hooks", True),
    # Where nothing but the secret is set, nothing but the secret opens.
    ("", "hook", True, None, "hook", True),
    ("", "hook", True, None, None, False),
    ("", "hook", True, MADE_UP, None, False),
    ("", "hook", True, NOBODY, None, False),
]


@pytest.mark.parametrize(("user", "secret", "webhook", "credentials", "carried", "passes"), CASES)
def test_only_what_is_set_opens(
    user: str, secret: str, webhook: bool, credentials: str | None, carried: str | None, passes: bool
) -> None:
    settings = Settings(basic_auth_user=user, basic_auth_pass="pass" if user else "", webhook_secret=secret)
    given = {"authorization": credentials, "x-drape-secret": carried}
    headers = [(name.encode(), value.encode()) for name, value in given.items() if value is not None]
    request = Request({"type": "http", "method": "POST", "path": "/webhook", "headers": headers})

    with nullcontext() if passes else pytest.raises(Unauthorized):
        check_credentials(request, settings, webhook=webhook)


# what follows `Authorization: Basic`, whether it passes where user and password are `zoë` and `naïve:é`
ENCODED = [
    (b64encode("zoë:naïve:é".encode()).decode(), True),
    (b64encode("zoë:naïve:é".encode("latin-1")).decode(), True),
    (b64encode("zoe:naïve:é".encode()).decode(), False),
    (b64encode("zoë:naïve".encode()).decode(), False),
    (b64encode(b"\xff\xfe").decode(), False),
    (b64encode(b"no colon").decode(), False),
    ("not base64!", False),
    ("", False),
]


@pytest.mark.parametrize(("encoded", "passes"), ENCODED)
def test_credentials_may_be_encoded_as_browsers_or_as_label_studio_do(encoded: str, passes: bool) -> None:
    settings = Settings(basic_auth_user="zoë", basic_auth_pass="naïve:é", segmenter="builtin")
    client = TestClient(create_app(settings))
    assert (client.get("/health", headers={"Authorization": f"Basic {encoded}"}).status_code == 200) == passes


ROUTES = {
    "/",
    "/assets/{name}",
    "/projects/{project_id}/versions/{name}/report",
    "/projects/{project_id}/review/approve",
    "/projects/{project_id}/review/undo",
    "/review",
    "/review/{name}",
    "/live/{name}",
    "/projects/{project_id}/live/frame",
    "/projects/{project_id}/live/task",
    "/projects/{project_id}/versions/{name}/promote",
    "/projects/{project_id}/rollback",
    "/projects/{project_id}/train",
    "/projects/{project_id}/train/cancel",
    "/health",
    "/setup",
    "/predict",
    "/webhook",
    "/versions",
    "/status",
    "/job_status",
    "/validate",
    "/duplicate_model",
    "/delete",
    "/metrics",
}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT")


@pytest.mark.slow
def test_whatever_is_asked_nothing_is_told_or_done_without_credentials(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, basic_auth_user="user", basic_auth_pass="pass", webhook_secret="hook")
    app = create_app(settings)
    # No folder of files, no documentation, no socket stands beside the routes that ask for credentials.
    routes = list(iter_route_contexts(app.routes))
    assert all(isinstance(route.original_route, APIRoute) for route in routes)
    assert {route.path for route in routes} == ROUTES | {LIVE}
    client = TestClient(app, follow_redirects=False)
    unknown = {"/docs", "/openapi.json", "/static/x", "/assets/../app.py", "/assets/%2e%2e/app.py"}
    allowed = {(route.path, method) for route in routes for method in route.methods or ()}
    for path in ROUTES | unknown:
        address = re.sub(r"{project_id}", "7", path).replace("{name}", "status.css")
        for method in METHODS:
            for auth in ({}, {"Authorization": MADE_UP}, {"Authorization": "Basic %"}, {"Authorization": "Bearer x"}):
                answer = client.request(method, address, headers=auth)
                if (path, method) in allowed:
                    assert answer.status_code == 401, (method, path)
                else:
                    # There is no such thing: nothing is done, and nothing said but that.
                    assert answer.status_code in (404, 405), (method, path)
                    assert answer.content in (b"", b'{"detail":"Not Found"}', b'{"detail":"Method Not Allowed"}')


def test_anybody_learns_that_it_lives_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, basic_auth_user="user", basic_auth_pass="pass", webhook_secret="hook")
    client = TestClient(create_app(settings))
    for headers in ({}, {"Authorization": MADE_UP}):
        answer = client.get(LIVE, headers=headers)
        assert (answer.status_code, answer.content) == (204, b"")
        # Where a browser asks, it is a page, which only those see who are let in.
        answer = client.get(LIVE, headers={**headers, "Accept": "text/html,*/*;q=0.8"})
        assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_what_another_site_has_a_browser_send_is_no_webhook(tmp_path: Path, kind: str) -> None:
    """A browser adds the credentials that it knows, and says which site's page has sent it."""
    settings = Settings(data_dir=tmp_path, basic_auth_user="user", basic_auth_pass="pass")
    body = b'{"action": "START_TRAINING", "project": {"id": 7}}'
    headers = {
        "Authorization": BASIC,
        "Origin": "https://elsewhere.example",
        **({"Content-Type": kind} if kind else {}),
    }
    answer = TestClient(create_app(settings)).post("/webhook", content=body, headers=headers)
    assert answer.status_code == 403, answer.text


def test_another_sites_page_has_nothing_predicted(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, basic_auth_user="user", basic_auth_pass="pass", segmenter="builtin")
    body = {"tasks": [], "label_config": palette(GARMENTS)}
    client = TestClient(create_app(settings), headers={"Authorization": BASIC})
    for header in ({"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/predict", json=body, headers=header).status_code == 403
    # Label Studio says nothing of the kind.
    assert client.post("/predict", json=body).status_code == 200
