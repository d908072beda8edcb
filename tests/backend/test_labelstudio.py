"""What the client does where Label Studio's answer is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backend.domain import Prediction
from backend.errors import LabelStudioAwayError
from backend.labelstudio import LabelStudio
from backend.settings import Settings


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
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", stored
    server.shutdown()
    server.server_close()
    thread.join()


def test_predictions_whose_answer_is_lost_are_not_sent_again(stores_and_fails: tuple[str, list[str]]) -> None:
    url, stored = stores_and_fails
    studio = LabelStudio(Settings(label_studio_url=url, label_studio_api_key="0" * 40))
    with pytest.raises(LabelStudioAwayError, match="502"):
        studio.write_predictions(3, [(1, Prediction(model_version="v1"))])
    # Whether they are there is asked first, by the job that goes on.
    assert stored == ["/api/projects/3/import/predictions"]
