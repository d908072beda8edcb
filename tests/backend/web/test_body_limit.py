from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPConnection

import httpx
import pytest

from backend.settings import Settings
from tests.backend.conftest import PASSWORD, SECRET, USER, served
from tests.support import recorded

pytestmark = pytest.mark.services
MOST_BYTES = 20_000


@pytest.fixture
def limited(settings: Settings) -> Iterator[httpx.Client]:
    with served(settings.model_copy(update={"request_max_bytes": MOST_BYTES})) as running:
        yield running.client


@pytest.mark.parametrize("route", ["/predict", "/webhook", "/setup", "/versions", "/validate"])
def test_a_body_that_is_too_large_is_refused_in_a_sentence(limited: httpx.Client, route: str) -> None:
    answer = limited.post(route, content=b" " * (MOST_BYTES + 1), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"][:37]) == (413, "The request is larger than 0.02 MB (R")
    assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("route", ["/predict", "/webhook", "/setup", "/versions", "/validate"])
def test_one_of_no_stated_length_is_refused_before_its_end(limited: httpx.Client, route: str) -> None:
    url = limited.base_url
    connection = HTTPConnection(url.host, url.port or 80, timeout=20)
    connection.putrequest("POST", route)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Authorization", f"Basic {b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    # The last chunk, of no bytes, never comes: who would read on waits for ever.
    connection.send(b"%x\r\n%s\r\n" % (MOST_BYTES + 1, b" " * (MOST_BYTES + 1)))
    answer = connection.getresponse()
    said = json.loads(answer.read())["detail"]
    connection.close()
    assert (answer.status, said[:37]) == (413, "The request is larger than 0.02 MB (R")
    assert limited.get("/health").status_code == 200


def test_an_import_of_thousands_of_tasks_passes(client: httpx.Client) -> None:
    event = recorded("webhook_TASKS_CREATED_upload")
    event["tasks"] = [{**event["tasks"][0], "id": number} for number in range(1, 5001)]
    answer = client.post("/webhook", json=event, headers={"X-Drape-Secret": SECRET})
    assert (answer.status_code, answer.json()) == (201, {"queued": "prelabel"})
