"""docker-compose.yml is read by docker-compose itself, without an engine; `tests/compose` runs it on one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from backend.settings import Settings

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Compose:
    """The file in a folder of its own, with the example's variables."""

    folder: Path

    def config(self, *profiles: str) -> dict[str, Any]:
        """What docker-compose reads in it."""
        chosen = [part for profile in profiles for part in ("--profile", profile)]
        done = subprocess.run(
            ["docker-compose", *chosen, "config"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return yaml.safe_load(done.stdout)


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    if shutil.which("docker-compose"):
        shutil.copy(ROOT / "docker-compose.yml", tmp_path)
        shutil.copy(ROOT / ".env.example", tmp_path / ".env")
        return Compose(tmp_path)
    if os.environ.get("CI") == "true":
        pytest.fail("There is no docker-compose, and under CI this must run.")
    pytest.skip("There is no docker-compose on this machine (Debian: apt install docker-compose).")


def mounts(service: dict[str, Any]) -> dict[str, Path]:
    """Volume or folder → where it is mounted; docker-compose 1 writes them as text, docker-compose 2 as tables."""
    pairs = [
        one.split(":")[:2] if isinstance(one, str) else (one["source"], one["target"]) for one in service["volumes"]
    ]
    return {source: Path(target) for source, target in pairs}


ALWAYS = {"label-studio", "postgres", "redis"}
PROFILES = [
    ((), ALWAYS),
    (("cpu",), ALWAYS | {"backend", "worker-prelabel", "worker-train", "timer"}),
    (("gpu", "tls"), ALWAYS | {"backend-gpu", "worker-prelabel-gpu", "worker-train-gpu", "timer-gpu", "proxy"}),
]


@pytest.mark.parametrize(("profiles", "services"), PROFILES)
def test_it_is_valid(compose: Compose, profiles: tuple[str, ...], services: set[str]) -> None:
    found = compose.config(*profiles)
    assert set(found["services"]) >= services
    for name in services:
        service = found["services"][name]
        assert service["restart"] == "unless-stopped", name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert ":" in service["image"] and not service["image"].endswith(":latest"), name
        assert name == "label-studio" or service["read_only"], name


def test_workers_give_way_to_what_annotators_wait_for(compose: Compose) -> None:
    found = compose.config("cpu", "gpu")["services"]
    shares = {name: service["cpu_shares"] for name, service in found.items() if "cpu_shares" in service}
    # As the kernel weighs what has a niceness of 5 and of 10 against what has none, and 1024 (sched_prio_to_weight).
    of = {"worker-prelabel": 335, "worker-train": 110}
    assert shares == {**of, **{f"{name}-gpu": share for name, share in of.items()}}


def test_no_secret_is_in_the_environment(compose: Compose) -> None:
    found = compose.config("cpu", "gpu", "tls", "keeping")
    for name, service in found["services"].items():
        for key, value in (service.get("environment") or {}).items():
            assert not re.search("PASS(WORD)?$|SECRET$|KEY$", key), (name, key)
            assert not re.search("://[^/]*:[^/]*@", str(value)), (name, key)


def test_every_secret_of_drape_is_a_setting(compose: Compose) -> None:
    found = compose.config("cpu")
    names = {one["source"] for one in found["services"]["backend"]["secrets"]}
    # Read by what speaks to a bucket, as everywhere.
    assert "aws_credentials" in names
    names.remove("aws_credentials")
    assert names == {"label_studio_api_key", "redis_password", "basic_auth_pass", "webhook_secret"}
    assert names <= set(Settings.model_fields)


def test_a_backup_and_a_restore_are_a_command_each(compose: Compose) -> None:
    found = compose.config("keeping")["services"]
    studio, postgres = found["label-studio"], found["postgres"]
    for name in ("backup", "restore"):
        service = found[name]
        given = service["environment"]
        known = {key.lower() for key in given} & set(Settings.model_fields)
        settings = Settings(**{key: given[key.upper()] for key in known}, basic_auth_pass="of a secret")
        where = urlsplit(settings.label_studio_database)
        assert (where.hostname, where.path) == ("postgres", f"/{postgres['environment']['POSTGRES_DB']}")
        assert where.username == postgres["environment"]["POSTGRES_USER"] and not where.password
        # Uploads lie in Label Studio's own volume, and what Drape keeps in that of the backend and the workers.
        mounted = mounts(service)
        assert mounted["label-studio-data"] == mounts(studio)["label-studio-data"]
        assert Path(str(settings.label_studio_files)).parent == mounted["label-studio-data"]
        assert mounted["drape-data"] == Path("/data")
        secrets = {one["source"] for one in service["secrets"]}
        assert {"postgres_password", "redis_password", "label_studio_api_key"} <= secrets
        assert secrets - {"aws_credentials"} <= set(Settings.model_fields)
        # A restore wants all that work on the data stopped: it starts nothing but what holds it.
        assert set(service["depends_on"]) == {"redis", "postgres"}
        assert service["restart"] == "no" and service["read_only"]
    assert found["backup"]["command"] == ["backup", "/backups/"]
    assert found["restore"]["entrypoint"] == ["drape", "restore"]
    # The image's client is of the server's release.
    release = re.search(r"postgres:(\d+)", postgres["image"])
    assert release and f"postgresql-client-{release[1]} " in (ROOT / "Dockerfile").read_text()


def test_settings_of_the_example_reach_drape(compose: Compose) -> None:
    services = compose.config("cpu", "gpu")["services"]
    for name in ("backend", "worker-train-gpu"):
        given = services[name]["environment"]
        assert (given["RETRAIN_AFTER"], given["YOLO11_BASE"]) == ("50", "n")
        backend = services[name.replace("worker-train", "backend")]
        assert urlsplit(given["BACKEND_URL"]).hostname in backend["networks"]["default"]["aliases"]
    assert services["backend"]["environment"]["DEVICE"] == "cpu"
    assert services["backend-gpu"]["environment"]["DEVICE"] == "cuda:0"


def test_the_example_explains_every_variable() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    # A comment that is a line of its own is a variable that the file has another default for.
    said = set(re.findall(r"^(?:# )?([A-Z0-9_]+)=", "\n".join(lines), re.MULTILINE))
    read = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert read <= said
    # All others are Drape's own.
    assert {name.lower() for name in said - read} <= set(Settings.model_fields)
    for before, line in pairwise(lines):
        assert line.startswith("#") or not line or before.startswith("#") or "=" in before, line
