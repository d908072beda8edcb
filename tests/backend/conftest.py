"""The backend as it runs, on a small Label Studio of files: only images are asked of it here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from backend.app import create_app
from backend.service import Service
from backend.settings import Settings
from launcher.stack.supervisor import free_port
from tests.conftest import Studio

USER, PASSWORD, SECRET = "label-studio", "pass", "hook"


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def image_files(folder: Path) -> Iterator[str]:
    """Address of a real HTTP server of the folder's files, for as long as the block lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of a real HTTP server, and the folder that it serves."""
    folder = tmp_path / "files"
    folder.mkdir()
    with image_files(folder) as url:
        yield url, folder


@pytest.fixture
def settings(tmp_path: Path, files: tuple[str, Path], redis_address: str) -> Settings:
    """Settings of a backend that keeps its data in a folder of the test's own."""
    return Settings(
        data_dir=tmp_path / "data",
        label_studio_url=files[0],
        # A legacy token: unlike a personal one it needs no exchange.
        label_studio_api_key="0123456789abcdef0123456789abcdef01234567",
        redis_url=redis_address,
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
        webhook_secret=SECRET,
        device="cpu",
    )


@dataclass(frozen=True)
class Served:
    """The service on a real port: its parts, and a client with the right credentials."""

    app: FastAPI
    service: Service
    client: httpx.Client
    server: uvicorn.Server


def settings_with_label_studio(label_studio: Studio, redis_address: str, data_dir: Path, **given: Any) -> Settings:
    """Settings of a backend at a real Label Studio and a real Redis, and others that are given."""
    return Settings(
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.api_key,
        redis_url=redis_address,
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
        webhook_secret=SECRET,
        data_dir=data_dir,
        **given,
    )


@contextmanager
def served(settings: Settings) -> Iterator[Served]:
    """Serves the backend from this process for as long as the block lasts."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=free_port(), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.config.port}"
        with httpx.Client(base_url=base, auth=(USER, PASSWORD), timeout=60) as client:
            deadline = time.monotonic() + 30
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.02)
            yield Served(app, app.state.service, client, server)
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def backend(settings: Settings) -> Iterator[Served]:
    """The service, with Redis and images at hand."""
    with served(settings) as running:
        yield running


@pytest.fixture
def client(backend: Served) -> httpx.Client:
    """Asks the service with the right credentials."""
    return backend.client


@pytest.fixture
def client_without_redis(settings: Settings) -> Iterator[httpx.Client]:
    """Asks a service whose Redis is away."""
    with served(settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})) as running:
        yield running.client
