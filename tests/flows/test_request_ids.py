"""From the HTTP request to the worker's log of the job that it queued: one id, on a real Redis and a real port."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rq import Queue

from backend.queues.queues import CHECKS, QUEUES, TRAIN
from backend.settings import Settings
from backend.telemetry.logs import make_log_handler
from backend.telemetry.request_ids import job_context, request_id, valid_or_new_id
from tests.backend.conftest import PASSWORD, USER, Served, served
from tests.conftest import ROOT
from tests.support import recorded

GIVEN = "from-a-proxy.1_2"


@contextmanager
def recorded_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, str]]]:
    """What this process logs, as the collector of logs would read it."""
    handler = make_log_handler("json")
    lines: list[dict[str, str]] = []
    with path.open("w") as file:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(file)
        root = logging.getLogger()
        before = root.level
        root.addHandler(handler)
        root.setLevel("DEBUG")
        try:
            yield lines
        finally:
            root.removeHandler(handler)
            root.setLevel(before)
    lines += [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc", True),
        (GIVEN, True),
        ("0" * 64, True),
        # Too long, empty, or nothing that belongs into a log or a header.
        ("0" * 65, False),
        ("", False),
        ("a b", False),
        ("a\nINFO forged", False),
        ("a\n", False),
        ("é", False),
        ("<script>", False),
    ],
)
def test_an_id_is_kept_where_it_is_short_and_plain(given: str, kept: bool) -> None:
    current = valid_or_new_id(given)
    assert (current == given) == kept
    assert kept or (len(current) == 16 and current != valid_or_new_id(given))


def test_what_a_job_says_of_its_request_is_looked_at_as_well() -> None:
    with job_context("job", {"request_id": "a\nforged"}):
        assert request_id() == ""
    with job_context("job", {"request_id": GIVEN}):
        assert request_id() == GIVEN
    assert request_id() == ""


@pytest.mark.services
def test_every_answer_and_every_record_has_the_id(
    backend: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @backend.app.post("/breaks")
    def breaks() -> None:
        raise RuntimeError("nobody foresaw this")

    client = backend.client
    with recorded_lines(tmp_path / "log", monkeypatch) as lines:
        made = {client.get("/health").headers["X-Request-ID"] for _ in range(3)}
        kept = [
            client.post("/setup", json={"project": "1.2", "schema": "<View/>"}, headers={"X-Request-ID": GIVEN}),
            client.get("/nowhere", headers={"X-Request-ID": GIVEN}),
            # Afterwards the server ends the connection.
            client.post("/breaks", headers={"X-Request-ID": "broken", "Connection": "close"}),
            client.get("/health", headers={"X-Request-ID": "a b"}),
            client.get("/health", auth=("nobody", "x"), headers={"X-Request-ID": GIVEN}),
        ]
    assert len(made) == 3 and all(len(one) == 16 for one in made)
    assert [one.status_code for one in kept] == [400, 404, 500, 200, 401]
    assert [one.headers["X-Request-ID"] for one in kept[:3]] == [GIVEN, GIVEN, "broken"]
    assert kept[3].headers["X-Request-ID"] != "a b" and kept[4].headers["X-Request-ID"] == GIVEN
    ours = [line for line in lines if line["logger"].startswith("backend")]
    assert ours and all("request_id" in line for line in ours)
    # What was wrong with the label config, and how the request was answered, under the id that was given.
    of_setup = [line["message"] for line in ours if line["request_id"] == GIVEN]
    assert any("400" in one for one in of_setup) and any("/setup: " in one and "ms" not in one for one in of_setup)
    (escaped,) = [line for line in lines if "nobody foresaw this" in line.get("exception", "")]
    assert escaped["request_id"] == "broken"
    assert base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() not in json.dumps(lines)


@pytest.mark.services
def test_jobs_that_a_job_queues_carry_the_id_on(backend: Served) -> None:
    """Every way that there is to queue one; without a request there is nothing to carry."""
    queues = backend.service.connections.queues
    with job_context("first", {"request_id": GIVEN}):
        queues.enqueue_check(3)
        queues.prelabelling(3, version="v").add([1, 2])
        queues.enqueue_training(3, reason="test")
    queues.enqueue_plan(3)
    jobs = [job for name in QUEUES for job in Queue(name, connection=queues.redis).get_jobs()]
    ids = {str(job.func_name).rpartition(".")[2]: job.meta.get("request_id") for job in jobs}
    assert ids == {"check_approvals": GIVEN, "prelabel": GIVEN, "train": GIVEN, "plan": None}


@pytest.mark.services
@pytest.mark.parametrize("queue", [CHECKS, TRAIN])
def test_the_id_goes_from_the_request_to_the_log_of_the_job(settings: Settings, tmp_path: Path, queue: str) -> None:
    """By a service and a worker as they are started; both kinds of worker, of which one forks for each job."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "LOG_FORMAT": "json",
        "YOLO_CONFIG_DIR": str(tmp_path),
        **{
            name.upper(): str(getattr(settings, name))
            for name in (
                "data_dir",
                "label_studio_url",
                "label_studio_api_key",
                "redis_url",
                "basic_auth_user",
                "basic_auth_pass",
                "webhook_secret",
                "device",
                "sam_weights",
            )
        },
    }
    log = tmp_path / "worker.log"
    # Records go to standard error; Ultralytics greets on the other, when it is imported for the first time.
    with log.open("wb") as file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "launcher.cli", "worker", "--queue", queue],
            env=environment,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    name = {CHECKS: "webhook_TASKS_CREATED_upload", TRAIN: "webhook_START_TRAINING"}[queue]
    try:
        with served(settings) as running:
            answer = running.client.post("/webhook", json=recorded(name), headers={"X-Request-ID": GIVEN})
        assert answer.status_code == 201 and answer.headers["X-Request-ID"] == GIVEN
        deadline = time.monotonic() + 120
        # What the job says itself, or what is said of what it raised: here no Label Studio answers.
        said = {
            CHECKS: ("backend.prelabel.jobs", "has no model yet"),
            TRAIN: ("backend.queues.job_function", "LabelStudio"),
        }[queue]
        while not any(one["logger"] == said[0] and said[1] in json.dumps(one) for one in _of_request(log)):
            assert time.monotonic() < deadline and worker.poll() is None, log.read_text()
            time.sleep(0.2)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    assert all(one["job_id"] for one in _of_request(log))
    for secret in (settings.label_studio_api_key, ":test@"):
        assert secret not in log.read_text()


def _of_request(log: Path) -> list[dict[str, str]]:
    """The request's records, of a process that may be writing one now; every whole line is one."""
    lines = log.read_text().rpartition("\n")[0].splitlines()
    return [one for one in map(json.loads, lines) if one.get("request_id") == GIVEN]
