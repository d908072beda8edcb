"""What the client does where Label Studio's answer is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend.domain import Prediction
from backend.errors import LabelStudioError, LabelStudioUnavailableError
from backend.label_studio.client import LabelStudio
from backend.label_studio.connection import _http_client
from backend.label_studio.uploads import import_tasks
from backend.settings import Settings
from tests.conftest import Studio


@pytest.fixture
def stores_and_fails() -> Iterator[tuple[str, list[str]]]:
    """Address of a server that takes what it is sent and answers as a proxy does whose Label Studio is gone."""
    stored: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stored.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(502)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", stored
    server.shutdown()
    server.server_close()
    thread.join()


def test_tasks_whose_answer_is_lost_are_not_sent_again(stores_and_fails: tuple[str, list[str]]) -> None:
    url, stored = stores_and_fails
    studio = LabelStudio(Settings(label_studio_url=url, label_studio_api_key="0" * 40))
    with pytest.raises(LabelStudioUnavailableError, match="502"):
        import_tasks(studio, project_id=3, tasks=[{"data": {"image": "/x.jpg"}}])
    assert stored == ["/api/projects/3/import?return_task_ids=true"]


@pytest.mark.services
def test_a_token_that_is_about_to_end_is_renewed(label_studio: Studio) -> None:
    client = LabelStudio(Settings(label_studio_url=label_studio.url, label_studio_api_key=label_studio.api_key))
    tokens = client.sdk._client_wrapper._tokens_client
    first = client.bearer()
    assert client.bearer() == first
    # As one that ends on its way: the SDK takes it for good, Label Studio does not.
    tokens._access_token = first.removeprefix("Bearer ")[:-6] + "AAAAAA"
    with pytest.raises(LabelStudioError, match="refuses the API key"):
        client.projects_with_webhook("secret")
    tokens._access_token_expiration = datetime.now(timezone.utc) + timedelta(seconds=5)
    assert client.projects_with_webhook("secret") == []
    assert client.bearer() != first


def test_predictions_whose_answer_is_lost_are_not_sent_again(stores_and_fails: tuple[str, list[str]]) -> None:
    url, stored = stores_and_fails
    studio = LabelStudio(Settings(label_studio_url=url, label_studio_api_key="0" * 40))
    with pytest.raises(LabelStudioUnavailableError, match="502"):
        studio.write_predictions(3, [(1, Prediction(model_version="v1"))])
    # Whether they are there is asked first, by the job that goes on.
    assert stored == ["/api/projects/3/import/predictions"]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone gives up what was sent.")
def test_what_is_given_up_is_not_sent_later(
    stores_and_fails: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system goes on sending, into a cable that is out, what a closed connection left: predictions came twice."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    url, stored = stores_and_fails
    with _http_client(url, 7.5) as client, client.stream("POST", f"{url}/api", content=b"{}") as answer:
        sent_by = answer.extensions["network_stream"].get_extra_info("socket")
        assert sent_by.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7500
    assert stored == ["/api"]
