"""A real HTTP server of weights, which may wait, break off, or have nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend.segmenters import sam_weights


@dataclass
class WeightsServer:
    """What the server does, and what it was asked.

    Attributes:
        files: name → content.
        break_off: bytes after which each of the next answers breaks off.
        goes_on: while it is not set, an answer stops after its first byte.
        asked: name and `Range` of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    break_off: list[int] = field(default_factory=list)
    goes_on: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def weights_server(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> Iterator[WeightsServer]:
    """Serves the files in place of Ultralytics' release, as long as the block lasts."""
    state = WeightsServer(files={path.name: path.read_bytes() for path in paths})
    state.goes_on.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, asked_range = self.path.rpartition("/")[2], self.headers.get("Range", "")
            state.asked.append((name, asked_range))
            if name not in state.files:
                self.send_error(404)
                return
            content = state.files[name]
            first = int(asked_range.removeprefix("bytes=").removesuffix("-") or 0)
            self.send_response(206 if asked_range else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            last = first + state.break_off.pop(0) if state.break_off else len(content)
            # Who asked may have ended meanwhile.
            with suppress(ConnectionError):
                self.wfile.write(content[first : first + 1])
                state.goes_on.wait()
                self.wfile.write(content[first + 1 : last])

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(sam_weights, "ADDRESS", state.url)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()
