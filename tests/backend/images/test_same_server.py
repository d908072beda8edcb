from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backend.errors import ImageError
from backend.images.same_server import is_same_server
from backend.settings import Settings
from tests.backend.conftest import image_files
from tests.backend.images.support import encoded, store

# an address in a task, LABEL_STUDIO_URL, whether they are the same server
SERVERS = [
    ("http://localhost:8080/a.png", "http://127.0.0.1:8080", True),
    ("http://127.0.0.1:8080/a.png", "http://localhost:8080/", True),
    ("http://[::1]:8080/a.png", "http://localhost:8080", True),
    ("http://127.0.1.1:8080/a.png", "http://127.0.0.1:8080", True),
    (f"http://{socket.gethostname()}:8080/a.png", "http://127.0.0.1:8080", True),
    ("https://label.example.com/a.png", "https://Label.example.com:443", True),
    ("http://label.example.com:80/a.png", "http://label.example.com", True),
    ("http://user:word@localhost:8080/a.png", "http://127.0.0.1:8080", False),
    ("http://localhost/a.png", "http://127.0.0.1:80", True),
    # Two names of one IP address: one server, but at a default port perhaps two sites of one proxy.
    ("http://192.0.513:8080/a.png", "http://192.0.2.1:8080", True),
    ("http://192.0.513/a.png", "http://192.0.2.1", False),
    ("http://localhost:9090/a.png", "http://127.0.0.1:8080", False),
    ("https://localhost:8080/a.png", "http://127.0.0.1:8080", False),
    ("http://192.0.2.1:8080/a.png", "http://127.0.0.1:8080", False),
    ("http://no-such-host.invalid:8080/a.png", "http://127.0.0.1:8080", False),
    ("http://no-such-host.invalid/a.png", "http://other-host.invalid", False),
    ("/a.png", "http://127.0.0.1:8080", False),
    ("http://localhost:8080/a.png", "", False),
]


@pytest.mark.parametrize(("url", "server", "same"), SERVERS)
def test_a_server_is_the_same_by_port_and_machine(url: str, server: str, same: bool) -> None:
    assert is_same_server(url, server) is same


@pytest.mark.parametrize("name", ["localhost", "127.0.1.1", "[::1]"])
def test_server_by_another_name_is_asked_at_its_configured_address(files: tuple[str, Path], name: str) -> None:
    url, folder = files
    (folder / "a.png").write_bytes(encoded())
    images = store(Settings(label_studio_url=url))
    # The server listens at 127.0.0.1 alone: at ::1 nobody would answer.
    assert images.load(f"http://{name}:{urlsplit(url).port}/a.png?x=1", task_id=1).size_wh == (30, 20)


def test_another_port_of_the_same_machine_is_another_server(files: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(encoded())
    with image_files(tmp_path) as other:
        port = urlsplit(other).port
        with pytest.raises(ImageError) as refused:
            store(Settings(label_studio_url=files[0])).load(f"http://localhost:{port}/data/a.png", task_id=1)
    assert str(refused.value).endswith(
        "is at localhost, which IMAGE_HOSTS does not list. If that is Label Studio's address in browsers, set "
        f"LABEL_STUDIO_PUBLIC_URL=http://localhost:{port}."
    )
