"""`drape up` as a user starts it, the other commands beside it, and what its Label Studio holds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from label_studio_sdk import LabelStudio

from label_studio_config.demo.figures import Figure, draw_figure
from launcher.stack.supervisor import free_port
from tests.conftest import ROOT, STUDIO_VENV


def environment_of(**settings: str) -> dict[str, str]:
    """What a command needs of this environment, and settings; wide enough that no sentence is broken."""
    found = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return found | {"COLUMNS": "200", "SAM_WEIGHTS": ""} | settings


def run_drape(*arguments: str | Path, environment: dict[str, str]) -> str:
    """What the command prints, also where it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "launcher.cli", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    return done.stdout


def upload(url: str, bearer: dict[str, str], project_id: int, image: Path) -> None:
    """Uploads an image to Label Studio, as one does in its page."""
    with image.open("rb") as file:
        answer = httpx.post(
            f"{url}/api/projects/{project_id}/import",
            headers=bearer,
            files={"file": (image.name, file)},
            timeout=60,
        )
    answer.raise_for_status()


@dataclass
class Flywheel:
    """A running `drape up`."""

    data: Path
    log: Path
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Addresses and secrets of what runs."""
        facts: dict[str, Any] = json.loads((self.data / "secrets" / "running").read_text())
        return facts

    @property
    def password(self) -> str:
        return (self.data / "secrets" / "label-studio-password").read_text().strip()

    @property
    def sdk(self) -> LabelStudio:
        return LabelStudio(base_url=self.facts["label_studio_url"], api_key=self.facts["label_studio_api_key"])

    @property
    def status_page(self) -> str:
        facts = self.facts
        return f"http://{facts['basic_auth_user']}:{facts['basic_auth_pass']}@127.0.0.1:{facts['port']}/"

    @property
    def bearer(self) -> dict[str, str]:
        """The header that Label Studio's API asks for."""
        url, token = self.facts["label_studio_url"], self.facts["label_studio_api_key"]
        answer = httpx.post(f"{url}/api/token/refresh", json={"refresh": token}, timeout=30)
        return {"Authorization": f"Bearer {answer.raise_for_status().json()['access']}"}

    def status(self) -> dict[str, Any]:
        facts = self.facts
        auth = (facts["basic_auth_user"], facts["basic_auth_pass"])
        answer = httpx.get(f"http://127.0.0.1:{facts['port']}/status", auth=auth, timeout=10)
        status: dict[str, Any] = answer.raise_for_status().json()
        return status

    def wait(self, ready: Callable[[], Any], *, what: str, timeout_s: float) -> Any:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = ready()
            except (OSError, httpx.HTTPError, json.JSONDecodeError):
                found = None
            if found:
                return found
            assert self.process and self.process.poll() is None, f"drape up ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"{what} did not happen:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.5)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)
        self.wait(lambda: "Ctrl-C stops" in self.log.read_text(), what="the start", timeout_s=300)

    def stop(self) -> float:
        """Seconds until it was gone, with everything that it had started."""
        assert self.process
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        started = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        took_s = time.monotonic() - started
        left = [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert not left, left
        return took_s


@contextmanager
def running_flywheel(data: Path, *, figures: int, **settings: str) -> Iterator[Flywheel]:
    """`drape up` with so many figures, on free ports, for as long as the block lasts."""
    named = {
        "--data-dir": data,
        "--figures": figures,
        "--port": free_port(),
        "--studio-port": free_port(),
        "--redis-port": free_port(),
        "--studio-venv": STUDIO_VENV,
    }
    options = [str(part) for option in named.items() for part in option]
    command = [sys.executable, "-m", "launcher.cli", "up", *options]
    flywheel = Flywheel(data, data.parent / "up.log", command, environment_of(**settings))
    try:
        flywheel.start()
        yield flywheel
    finally:
        if flywheel.process and flywheel.process.poll() is None:
            flywheel.stop()


def figure_of(task: dict[str, Any]) -> Figure | None:
    """The drawn figure of a task; None for the photographs."""
    name = task["data"]["image"].rsplit("/", 1)[-1].split("=")[-1]
    return draw_figure(int(name.removeprefix("figure_").removesuffix(".jpg"))) if name.startswith("figure_") else None


def all_tasks(flywheel: Flywheel, project_id: int) -> list[dict[str, Any]]:
    return [task.model_dump() for task in flywheel.sdk.tasks.list(project=project_id, fields="all")]
