"""The service while the weights of `SAM_WEIGHTS=auto` are downloaded, behind real HTTP: which model answers is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.settings import Settings
from benchmarks.random_weights import random_mobile_sam
from launcher.stack.health import download_note
from tests.backend.conftest import served
from tests.backend.weights_server import weights_server
from tests.flows.test_app_sam3 import click, put_figure, request
from tests.support import wait_for

pytestmark = [pytest.mark.services, pytest.mark.slow]


def click_answered(client: httpx.Client, image: str) -> Any:
    answer = client.post("/predict", json=request(image, [click()]))
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["results"]
    return prediction


def page_of(client: httpx.Client) -> str:
    return client.get("/", headers={"Accept": "text/html"}).text


def test_clicks_go_on_while_the_model_changes_and_name_the_one_that_answered(
    settings: Settings, files: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Encoding takes a minute and more where the machine does much else.
    settings = settings.model_copy(update={"sam_weights": "auto", "predict_deadline_s": 600.0})
    image = put_figure(files[1], 2)
    with weights_server(monkeypatch, random_mobile_sam(tmp_path, seed=3)) as server:
        server.goes_on.clear()
        with served(settings) as running:
            client = running.client
            client.timeout = 600
            wait_for(lambda: "of 41 MB" in client.get("/health").json()["download"])
            health = client.get("/health").json()
            assert health["segmenter"] == "builtin"
            assert health["download"] == "mobile_sam.pt is being downloaded: 0 of 41 MB."
            assert f"builtin (comes with Drape), on the CPU. {health['download']}" in page_of(client)
            assert client.get("/status").json()["download"] == health["download"]
            port = settings.model_copy(update={"port": running.server.config.port})
            assert download_note(port) == health["download"]
            answered = [click_answered(client, image)]
            server.goes_on.set()
            while answered[-1]["model_version"] == "builtin":
                answered.append(click_answered(client, image))
            # None was lost between them, and a region bears the name of the model that drew it.
            assert {one["model_version"] for one in answered} == {"builtin", "mobile_sam"}
            assert all(one["result"] for one in answered)
            wait_for(lambda: client.get("/health").json()["download"] == "")
            assert client.get("/health").json()["segmenter"] == "mobile_sam"
            assert "mobile_sam, on cpu" in page_of(client)
            assert download_note(port) == ""
    assert download_note(port) == ""
