"""A copy of this repository on which docs/guides/deploy.md is followed: its commands are read from that page."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from backend.label_studio.client import LabelStudio
from backend.settings import Settings
from launcher.stack.label_studio_server import personal_access_token
from launcher.stack.secret_files import Secrets
from launcher.stack.supervisor import free_port
from tests.compose.engine import Engine
from tests.compose.stand_ins import override
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guides" / "deploy.md"
EMAIL = "admin@example.com"
STARTER = "/app/backend/detector/weights/starter.pt"
STEP_S = 300.0
T = TypeVar("T")


def commands(heading: str) -> list[str]:
    """The blocks of shell below a heading of the page, in order."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))[heading]
    return re.findall(r"^```sh\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Deployment:
    """A project of docker-compose in a folder of its own, on the engine of the tests."""

    engine: Engine
    folder: Path
    project: str
    studio_port: int
    backend_port: int
    https_port: int

    @classmethod
    def copy(cls, engine: Engine, folder: Path, *, project: str) -> Deployment:
        """A copy of what git tracks or would track; nothing is started."""
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        services = yaml.safe_load((folder / "docker-compose.yml").read_text())["services"]
        (folder / "stand-ins.yml").write_text(override(services))
        programs = folder.parent / "bin"
        programs.mkdir(exist_ok=True)
        if not shutil.which("sudo"):
            (programs / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
            (programs / "sudo").chmod(0o755)
        return cls(engine, folder, project, free_port(), free_port(), free_port())

    def elsewhere(self, project: str) -> Deployment:
        """The same folder under another name: containers, networks and volumes of its own, none of which is there."""
        return replace(self, project=project)

    @property
    def environment(self) -> dict[str, str]:
        """What a shell in the folder has."""
        own = self.engine.environment
        files = os.pathsep.join(("docker-compose.yml", "stand-ins.yml"))
        path = f"{self.folder.parent / 'bin'}{os.pathsep}{own['PATH']}"
        return {**own, "PATH": path, "COMPOSE_FILE": files, "COMPOSE_PROJECT_NAME": self.project}

    def shell(self, script: str, *, timeout_s: float = STEP_S) -> str:
        """What a block of the page prints; there is no terminal, which `exec` and `run` are told.

        Raises:
            AssertionError: it ended with another status than 0.
        """
        script = re.sub(r"docker-compose (exec|run)", r"docker-compose \1 -T", script)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{self.logs()}"
        return done.stdout

    def compose(self, *arguments: str, timeout_s: float = STEP_S) -> str:
        """What docker-compose prints, all profiles being chosen."""
        return self.shell(" ".join(["docker-compose", *arguments]), timeout_s=timeout_s)

    def logs(self, *services: str) -> str:
        """The last lines of what the services' containers printed."""
        command = ["docker-compose", "logs", "--no-color", "--tail=40", *services]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, text=True, capture_output=True, timeout=60, check=False
        ).stdout

    def make_bucket(self, name: str) -> None:
        """Starts the server of buckets, as docs/guides/deploy.md has it for several machines, and makes one there."""
        self.compose("--profile s3 up -d s3")
        request = f"urllib.request.Request('http://127.0.0.1:5000/{name}', method='PUT')"
        script = f"import urllib.request; urllib.request.urlopen({request})"
        wait_for(lambda: self.succeeds(f'docker-compose exec s3 python3 -c "{script}"'), what="a bucket")
        account = "[default]\naws_access_key_id = testing\naws_secret_access_key = testing\n"
        (self.folder / "secrets" / "aws_credentials").write_text(account)
        self.set(STORAGE_URL=f"s3://{name}/team", AWS_DEFAULT_REGION="us-east-1", AWS_ENDPOINT_URL="http://s3:5000")

    def succeeds(self, script: str) -> bool:
        """Whether a script ends with status 0."""
        try:
            self.shell(script)
        except AssertionError:
            return False
        return True

    def set(self, **values: str | int) -> None:
        """Changes lines of `.env`, or adds them."""
        path = self.folder / ".env"
        lines = [line for line in path.read_text().splitlines() if line.partition("=")[0] not in values]
        path.write_text("\n".join([*lines, *(f"{name}={value}" for name, value in values.items()), ""]))

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """What the engine knows of the containers of this project, or of one of its services."""
        filters = [f"label=com.docker.compose.project={self.project}"]
        filters += [f"label=com.docker.compose.service={service}"] if service else []
        chosen = [part for one in filters for part in ("--filter", one)]
        ids = self.engine.docker("ps", "--all", "--quiet", *chosen).split()
        return json.loads(self.engine.docker("inspect", *ids)) if ids else []

    def wait_until_healthy(self, services: Iterable[str], *, timeout_s: float = STEP_S) -> dict[str, float]:
        """Waits until each container of the services is; service → seconds since its container started.

        Raises:
            AssertionError: one is not in time; shows its state and the end of its log.
        """
        started, took, deadline = time.time(), dict[str, float](), time.monotonic() + timeout_s
        waiting = set(services)
        while waiting:
            for service in sorted(waiting):
                found = [one["State"] for one in self.containers(service)]
                if found and all(one.get("Health", {}).get("Status") == "healthy" for one in found):
                    took[service] = time.time() - started
                    waiting.discard(service)
                elif time.monotonic() > deadline:
                    states = [{key: one.get(key) for key in ("Status", "ExitCode", "Health")} for one in found]
                    raise AssertionError(f"{service} is not healthy: {states}\n{self.logs(service)}")
            time.sleep(0.5)
        return took

    @property
    def studio_url(self) -> str:
        """Label Studio's address on this machine."""
        return f"http://127.0.0.1:{self.studio_port}"

    @property
    def studio_password(self) -> str:
        """Of the first account, as the page made it."""
        found = re.search(r"LABEL_STUDIO_PASSWORD=(\S+)", (self.folder / "secrets" / "label_studio_env").read_text())
        assert found
        return found[1]

    def make_token(self) -> None:
        """Does what the page has a person do: logs in, and saves the account's token."""
        secrets = Secrets(self.folder.parent / "studio-secrets")
        token = personal_access_token(self.studio_url, password=self.studio_password, secrets=secrets, email=EMAIL)
        (self.folder / "secrets" / "label_studio_api_key").write_text(token)

    @cached_property
    def studio(self) -> LabelStudio:
        """Label Studio's API, with that token."""
        token = (self.folder / "secrets" / "label_studio_api_key").read_text()
        return LabelStudio(Settings(label_studio_url=self.studio_url, label_studio_api_key=token))

    def click(self, project_id: int, task_id: int, *, label: str, x_percent: float, y_percent: float) -> list[Any]:
        """Regions that a click makes, asked for as Label Studio's page does.

        Raises:
            AssertionError: Label Studio answers without them.
        """
        (backend,) = self.studio.sdk.ml.list(project=project_id)
        common = {
            "id": "click1",
            "to_name": "image",
            "original_width": 480,
            "original_height": 640,
            "image_rotation": 0,
        }
        place = {"x": x_percent, "y": y_percent, "width": 0.3}
        prompt = [
            {**common, "type": "keypoint", "from_name": "click", "value": place, "is_positive": True},
            {**common, "type": "labels", "from_name": "garment", "value": {**place, "labels": [label]}},
        ]
        answer = httpx.post(
            f"{self.studio_url}/api/ml/{backend.id}/interactive-annotating",
            headers={"Authorization": self.studio.bearer()},
            timeout=60,
            json={"task": task_id, "context": {"result": prompt}},
        ).raise_for_status()
        found = answer.json()
        assert found.get("data"), found
        regions = [one for one in found["data"]["result"] if one["type"] != "textarea"]
        assert regions, found
        return regions


def wait_for(found: Callable[[], T], *, what: str, timeout_s: float = STEP_S) -> T:
    """What `found` gives, as soon as it gives something."""
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: nothing within {timeout_s:.0f} s"
        time.sleep(0.5)
    return value
