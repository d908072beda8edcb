from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from backend.label_studio.client import SECRET_HEADER
from benchmarks.soak.hooks import WebhookTimings, sending_webhooks

EVENT = {"action": "ANNOTATION_UPDATED", "project": {"id": 3}, "annotation": {"id": 1}}
PATIENCE_S = 60.0


class Backend(ThreadingHTTPServer):
    """Acknowledges events, or refuses them."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status = status
        self.secrets: list[str | None] = []


class _Answer(BaseHTTPRequestHandler):
    server: Backend

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.secrets.append(self.headers[SECRET_HEADER])
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def told(status: int) -> tuple[WebhookTimings, Backend]:
    """The result of sending webhooks to a server that answers with `status`, until it got five."""
    with Backend(status) as backend:
        threading.Thread(target=backend.serve_forever, args=(0.02,), daemon=True).start()
        url, ends_at = f"http://127.0.0.1:{backend.server_port}", time.monotonic() + PATIENCE_S
        with sending_webhooks(url, secret="s", event=EVENT, every_s=0.01) as found:
            while len(backend.secrets) < 5 and time.monotonic() < ends_at:
                time.sleep(0.02)
        backend.shutdown()
    return found, backend


@pytest.mark.slow
def test_each_is_timed_beside_one_to_a_server_that_only_answers() -> None:
    found, backend = told(201)
    assert found.errors == []
    assert len(found.taken_ms) == len(found.baseline_ms) == len(backend.secrets) >= 5
    assert set(backend.secrets) == {"s"}
    moments = [at_s for at_s, _ in found.taken_ms]
    assert moments == sorted(moments) and all(ms > 0 for _, ms in [*found.taken_ms, *found.baseline_ms])


@pytest.mark.slow
def test_those_that_are_refused_are_errors() -> None:
    found, backend = told(401)
    assert found.taken_ms == [] and len(found.baseline_ms) == len(found.errors) == len(backend.secrets)
    assert "401" in found.errors[0]
