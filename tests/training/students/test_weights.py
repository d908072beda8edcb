"""Pretrained weights are found on disk; without internet that is said, not waited for."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.stack.supervisor import free_port
from training.students.weights import Weights

CONTENT = b"weights" * 100


@pytest.fixture
def published(tmp_path: Path) -> Iterator[str]:
    """The address of a real server that has one file."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "net.pt").write_bytes(CONTENT)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path / "there"))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/net.pt"
        server.shutdown()
        thread.join()


def test_what_lies_in_the_folder_is_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(CONTENT)
    assert Weights(tmp_path, may_download=False).find("http://nowhere.invalid/net.pt") == tmp_path / "net.pt"


def test_what_is_published_is_downloaded_once(published: str, tmp_path: Path) -> None:
    weights = Weights(tmp_path / "pretrained")
    path = weights.find(published)
    assert path is not None and path.read_bytes() == CONTENT
    assert weights.find(f"{published.rpartition('/')[0]}/other.pt") is None
    assert [one.name for one in weights.folder.iterdir()] == ["net.pt"]


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(CONTENT)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        weights = Weights(tmp_path / "pretrained")
        assert weights.find(f"http://127.0.0.1:{server.server_port}/net.pt") is None
        assert not list(weights.folder.iterdir())
        server.shutdown()
        thread.join()


def test_without_leave_or_internet_there_are_none_and_that_is_said(published: str, tmp_path: Path) -> None:
    assert Weights(tmp_path, may_download=False).find(published) is None
    offline = Weights(tmp_path / "pretrained")
    assert offline.find(f"http://127.0.0.1:{free_port()}/net.pt") is None
    assert offline.missing("net.pt") == "random weights (net.pt is not in pretrained/, and cannot be downloaded)"
    assert (
        Weights(offline.folder, may_download=False).missing("net.pt") == "random weights (net.pt is not in pretrained/)"
    )
